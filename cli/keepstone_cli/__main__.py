"""Entry point of the command."""

from keepstone_cli.main import main

if __name__ == "__main__":
    main()
