"""What all commands and stages share: help from the module's docstring, one-line errors, exit codes."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

from cuhs.errors import CuhsError
from pipelines.base.signals import Terminated


def parser(prog: str, doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a module's docstring, with its line breaks."""
    return argparse.ArgumentParser(
        prog=prog, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def run(work: Callable[[], object]) -> int:
    """Run a command's work and turn its errors into exit codes.

    A :class:`CuhsError` becomes one line on stderr. With ``CUHS_DEBUG=1``, its stack trace is shown instead.

    Returns:
        The exit code: 0, 2 after an error, 143 after SIGTERM, 130 after Ctrl-C.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for talkative in ("alembic", "botocore"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    try:
        work()
    except CuhsError as error:
        if os.environ.get("CUHS_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Terminated as terminated:
        print(terminated, file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def parse_nothing(prog: str, doc: str | None, argv: Sequence[str] | None) -> None:
    """Refuse every argument but ``--help``."""
    parser(prog, doc).parse_args(argv)
