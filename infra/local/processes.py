"""What the local servers share: a bound for the paths of their folders, and how their processes end."""

import psutil

# Bytes of the path below which they make folders: their sockets may have 107, and add some 60 of them.
LONGEST_PATH = 40


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
