"""SIGTERM: what a process does when it is told to end."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Terminated(SystemExit):
    """SIGTERM ended what a stage did; the message says what became of it."""


@contextmanager
def on_sigterm(act: Callable[[], object]) -> Iterator[None]:
    """Call ``act`` at SIGTERM instead of ending the process.

    Only the main thread of a process gets signals. Ray Tune drives its trials from other threads; nothing changes
    there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: act())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
