"""What a model's MLflow run keeps so that the model can be made again."""

from pathlib import Path

# The folder of the run's artifacts, and the files in it.
FOLDER = "reproduce"
FILES = (Path("params.yaml"), Path("dvc.lock"))
