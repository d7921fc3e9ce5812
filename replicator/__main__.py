"""Entry point of `python -m replicator` and of the script `replicator`."""

import sys


def main() -> None:
    """Run the command line; for the daemon, install signal handlers before the slow imports."""
    if sys.argv[1:2] == ["serve"]:
        from replicator import early

        early.handle_signals()
    from replicator import cli

    cli.main()


if __name__ == "__main__":
    main()
