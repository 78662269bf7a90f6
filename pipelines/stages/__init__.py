"""The stages of ``dvc.yaml``, each in its own module: ``python -m pipelines.stages.NAME``."""
