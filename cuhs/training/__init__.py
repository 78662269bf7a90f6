"""Training loops that take a model and data and yield metrics."""
