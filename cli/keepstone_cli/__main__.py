"""Entry point of the command."""

import atexit
import os
import sys
import threading


def main() -> None:
    """Run the command; being interrupted while it still loads is no error of the program either."""
    try:
        from keepstone_cli.main import main as run

        run()
    except SystemExit as end:
        _leave(end)
    except KeyboardInterrupt:
        sys.stderr.write("Error: Interrupted.\nRun it again: what was stored so far is not stored twice.\n")
        sys.exit(130)
    except (ImportError, MemoryError, OSError):
        # A library that cannot even be loaded: mostly for lack of memory, and if not, reinstalling helps.
        sys.stderr.write("Error: Keepstone cannot be loaded.\nFree some memory, or install Keepstone again.\n")
        sys.exit(1)


def _leave(end: SystemExit) -> None:
    """End the process at once: all is done and closed, and taking apart what is left costs a twentieth of a second.

    Raises:
        SystemExit: it has to end as usual, because a thread still works or a stream cannot be written.
    """
    atexit._run_exitfuncs()
    if threading.active_count() > 1:
        raise end
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        raise end from None
    os._exit(end.code if isinstance(end.code, int) else 0 if end.code is None else 1)


if __name__ == "__main__":
    main()
