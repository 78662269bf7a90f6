"""What all commands and stages share: help from the module's docstring, one-line errors, exit codes."""

import argparse
import errno
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cuhs.errors import CuhsError
from pipelines.base.signals import Terminated

# What the machine may refuse anywhere, and the way out.
UNUSABLE = {
    errno.EACCES: "give this user the right to it, or run as its owner",
    errno.EPERM: "give this user the right to it, or run as its owner",
    errno.EROFS: "work in a copy on a file system that can be written",
    errno.ENOSPC: "make room, then run the same command again",
    errno.EDQUOT: "make room, then run the same command again",
}


def parser(prog: str, doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a module's docstring, with its line breaks.

    All commands begin here, so this also lets them print what the terminal's encoding lacks, as ``?``.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return argparse.ArgumentParser(
        prog=prog, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def count(text: str) -> int:
    """A whole number from 1, for arguments."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def run(work: Callable[[], object]) -> int:
    """Run a command's work and turn its errors into exit codes.

    A :class:`CuhsError` becomes one line on stderr, and so does a file or a disk that cannot be used. With
    ``CUHS_DEBUG=1``, its stack trace is shown instead.

    Returns:
        The exit code: 0, 2 after an error, 143 after SIGTERM, 130 after Ctrl-C.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for talkative in ("alembic", "botocore"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    try:
        _check_home()
        work()
    except CuhsError as error:
        if os.environ.get("CUHS_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in UNUSABLE or os.environ.get("CUHS_DEBUG"):
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror}; {UNUSABLE[error.errno]}", file=sys.stderr)
        return 2
    except Terminated as terminated:
        print(terminated, file=sys.stderr)
        return 143
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _check_home() -> None:
    """MLflow, DVC and Ray look for a home folder when they are imported, and fail without one."""
    try:
        Path.home()
    except RuntimeError as error:
        raise CuhsError(
            "HOME: not set, and this user has no home folder; export HOME=/path/to/a/writable/folder"
        ) from error


def parse_nothing(prog: str, doc: str | None, argv: Sequence[str] | None) -> None:
    """Refuse every argument but ``--help``."""
    parser(prog, doc).parse_args(argv)
