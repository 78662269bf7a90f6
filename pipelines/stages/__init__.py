"""The stages of ``dvc.yaml``, a module each: ``python -m pipelines.stages.NAME``."""
