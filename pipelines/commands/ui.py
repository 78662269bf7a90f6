"""Serve the MLflow UI on this machine and print the address of the experiment's runs, best model first.

Ctrl-C ends it. If MLFLOW_TRACKING_URI names a server, only the address is printed.
"""

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from urllib.parse import quote

from cuhs.errors import CuhsError
from pipelines.base import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Print the address of the experiment and serve until Ctrl-C; returns the exit code."""
    parser = cli.parser("cuhs ui", __doc__)
    parser.add_argument("--port", type=int, default=5000, help="default: 5000")
    arguments = parser.parse_args(argv)
    return cli.run(lambda: _serve(arguments))


def _serve(arguments: argparse.Namespace) -> None:
    # Not at the top: it takes seconds to import.
    from pipelines.base import params
    from pipelines.base.console import console
    from pipelines.tracking.mlflow_store import experiment_id, uri

    store = uri()
    base = store if store.startswith(("http://", "https://")) else f"http://127.0.0.1:{arguments.port}"
    console.print(f"runs:  {address(base, experiment_id(params.load().tracking.experiment))}", soft_wrap=True)
    if base == store:
        return
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", arguments.port))
        except (OSError, OverflowError) as error:
            raise CuhsError(f"--port {arguments.port}: cannot be used ({error}); name another one") from error
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(arguments.port)]
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.execv(sys.executable, [*command, "--workers", "1", "--backend-store-uri", store])


def address(base: str, experiment: str | None) -> str:
    """The page of an experiment's runs, sorted by ``all/mAP``; without an experiment, the page of all experiments.

    At a first visit, MLflow shows its pages for language models; ``workflowType`` in the address selects training.
    """
    if experiment is None:
        return f"{base}/#/experiments?workflowType=machine_learning"
    order = quote("metrics.`all/mAP`", safe="")
    return f"{base}/#/experiments/{experiment}/runs?workflowType=machine_learning&orderByKey={order}&orderByAsc=false"


if __name__ == "__main__":
    sys.exit(main())
