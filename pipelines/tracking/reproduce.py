"""The artifacts of a model's MLflow run with which the model can be made again."""

from pathlib import Path

# The folder among the run's artifacts, and the files in it.
FOLDER = "reproduce"
FILES = (Path("params.yaml"), Path("dvc.lock"))
