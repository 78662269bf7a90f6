"""The dataset's page."""
