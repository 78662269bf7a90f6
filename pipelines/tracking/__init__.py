"""MLflow: a model's run, which several stages write to, and the registry of its versions."""
