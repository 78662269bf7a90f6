"""The pipeline around :mod:`cuhs`: the stages of ``dvc.yaml``, the command ``cuhs``, and the packages they share."""

import os


def reach_directly(*hosts: str) -> None:
    """Add hosts to ``NO_PROXY`` of this process and of those that it starts: no request to them uses a proxy."""
    for name, other in (("no_proxy", "NO_PROXY"), ("NO_PROXY", "no_proxy")):  # libraries differ in which they read
        listed = (os.environ.get(name) or os.environ.get(other, "")).split(",")
        there = [host for entry in listed if (host := entry.strip())]
        if "*" not in there:  # which means all hosts, but only where it stands alone
            os.environ[name] = ",".join([*there, *(host for host in hosts if host not in there)])


# No proxy can reach this machine's own servers.
reach_directly("localhost", "127.0.0.1", "::1")
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
