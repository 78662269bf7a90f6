"""The dataset's HTML page."""
