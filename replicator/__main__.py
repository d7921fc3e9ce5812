"""`python -m replicator`, and the script `replicator`."""

import sys


def main() -> None:
    """Run the command line; the daemon handles its signals before anything else is imported."""
    if sys.argv[1:2] == ["serve"]:
        from replicator import early

        early.handle_signals()
    from replicator import cli

    cli.main()


if __name__ == "__main__":
    main()
