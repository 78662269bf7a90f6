"""What lies on disk: raw folders, their names, labels and annotation files."""
