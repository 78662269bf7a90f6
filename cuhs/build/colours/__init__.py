"""Clothing colours of identities without a label, from the pixels of their images."""
