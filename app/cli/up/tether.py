"""Becomes another program that ends when its parent does: `tether.py PARENT_PID PROGRAM ARGUMENT…`.

The kernel's parent-death signal survives the exec; nothing else of this file does. It is run
isolated (`python -I -S`), so that it costs milliseconds.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Does not return."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)  # The parent was gone before the signal was set.
    try:
        os.execvp(command[0], command)
    except OSError as fault:
        sys.exit(f"{command[0]} can't be started: {fault.strerror}")


if __name__ == "__main__":
    main()
