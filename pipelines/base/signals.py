"""What a process does at SIGTERM."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Terminated(SystemExit):
    """SIGTERM ended a stage; the message says what was kept."""


@contextmanager
def on_sigterm(act: Callable[[], object]) -> Iterator[None]:
    """Call ``act`` at SIGTERM instead of ending the process.

    Only a process's main thread gets signals. In other threads, from which Ray Tune drives its trials, this does
    nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: act())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
