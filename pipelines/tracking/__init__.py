"""MLflow: the run of a model, written to by several stages, and the registry of its versions."""
