"""Resources that this process may use."""

import os


def usable_cpus() -> int:
    """Return the number of usable cores; containers, batch systems and ``taskset`` allow fewer than exist."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
