"""The stages of the pipeline, each a thin ``python -m pipelines.NAME``."""
