"""Training loops: they take a model and data and return metrics."""
