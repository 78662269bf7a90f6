"""Readers of raw datasets, one module for each publisher's layout of folders and file names."""
