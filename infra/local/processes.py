"""Ends processes of the local servers by their ids."""

import psutil


def kill_tree(pid: int) -> None:
    """SIGKILL a process and all processes that it started."""
    try:
        parent = psutil.Process(pid)
        processes = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=10)
