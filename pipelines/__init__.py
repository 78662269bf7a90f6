"""The pipeline around :mod:`cuhs`: the stages of ``dvc.yaml``, the command ``cuhs``, and the packages they share."""

import os

# Libraries read these when they are imported. A tracking server that is away must not hold up a stage, so there are
# few retries and short waits; entries that fail are sent again later.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_ENABLE_ASYNC_LOGGING", "false")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# OpenMP reads this when PyTorch is imported. Threads that spin while they wait burn the cores that others need: a
# training beside other work then loses nearly all of its pace (benchmarks/busy_machine.py).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
