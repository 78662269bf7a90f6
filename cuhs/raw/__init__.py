"""Reading of raw datasets: folders, file names, labels and annotation files."""
