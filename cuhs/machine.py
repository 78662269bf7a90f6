"""What this process may use of the machine."""

import os


def usable_cpus() -> int:
    """Cores this process may run on: containers, batch systems and ``taskset`` give fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
