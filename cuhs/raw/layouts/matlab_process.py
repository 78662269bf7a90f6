"""Decodes a MATLAB file and writes its variables to standard output, pickled; run as a program by :mod:`.matlab`.

SciPy's decoder can be made to end the interpreter (thousands of nested cells) or to fill the memory (a small file of
zeros, compressed). Here it ends a process that has nothing else to do, within these limits.
"""

import contextlib
import pickle
import sys

MEMORY = 2**30
SECONDS = 120


def main() -> int:
    """Decode the file that the command line names; the exit code is 1 if it cannot be, with the reason on stderr."""
    _limit()
    import scipy.io

    try:
        sys.stdout.buffer.write(pickle.dumps(scipy.io.loadmat(sys.argv[1], appendmat=False)))
    except MemoryError:
        print("it needs too much memory", file=sys.stderr)
        return 1
    except Exception as error:  # SciPy's readers raise exceptions of any type on broken files
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        return 1
    return 0


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    for kind, limit in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_CORE, 0)):
        _, most = resource.getrlimit(kind)
        # macOS takes no limit of memory.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))


if __name__ == "__main__":
    sys.exit(main())
