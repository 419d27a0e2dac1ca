"""Entry point of the command."""

import sys


def main() -> None:
    """Run the command; being interrupted while it still loads is no error of the program either."""
    try:
        from keepstone_cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("Error: Interrupted.\nRun it again: what was stored so far is not stored twice.\n")
        sys.exit(130)
    except (ImportError, MemoryError, OSError):
        # A library that cannot even be loaded: mostly for lack of memory, and if not, reinstalling helps.
        sys.stderr.write("Error: Keepstone cannot be loaded.\nFree some memory, or install Keepstone again.\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
