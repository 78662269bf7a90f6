"""What every stage's entry point shares: one-line errors and exit codes."""

import logging
import os
import sys
from collections.abc import Callable

from cuhs.errors import CuhsError


def run(main: Callable[[], None]) -> None:
    """Run a stage; a :class:`CuhsError` becomes one line on stderr and exit code 2.

    Set ``CUHS_DEBUG=1`` to see the stack trace instead.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        main()
    except CuhsError as error:
        if os.environ.get("CUHS_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
