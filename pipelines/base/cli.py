"""What every stage's entry point shares: one-line errors and exit codes."""

import logging
import os
import sys
from collections.abc import Callable

from cuhs.errors import CuhsError
from pipelines.training.preemption import Terminated


def run_stage(name: str, main: Callable[[], None]) -> None:
    """Run a stage here, or on the cluster whose job server ``RAY_ADDRESS`` names; see :func:`run`."""
    if elsewhere():
        # Here and not at the top: it takes seconds to import.
        from pipelines.cluster import submit

        run(lambda: submit.submit(name))
    else:
        run(main)


def elsewhere() -> bool:
    """Whether ``RAY_ADDRESS`` names a job server, on which stages run then."""
    return os.environ.get("RAY_ADDRESS", "").startswith(("http://", "https://"))


def run(main: Callable[[], None]) -> None:
    """Run a stage; a :class:`CuhsError` becomes one line on stderr and exit code 2, a :class:`Terminated` 143.

    Set ``CUHS_DEBUG=1`` to see the stack trace instead.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for talkative in ("alembic", "botocore"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    try:
        main()
    except CuhsError as error:
        if os.environ.get("CUHS_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Terminated as terminated:
        print(terminated, file=sys.stderr)
        sys.exit(143)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
