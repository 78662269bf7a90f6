"""Clothing colours for people without a label, from their pixels."""
