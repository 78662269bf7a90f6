"""Readers of raw datasets, one module for each published layout of folders and file names."""
