"""cli: turns a command line into one call, and an error into one line and an exit code.

Exit codes of every command: 0 done, 1 failed, 2 bad usage or config, 3 some frontends failed.
"""

from __future__ import annotations

import sys

import click

from replicator import __version__
from replicator.cli.agent import agent
from replicator.cli.bootstrap import bootstrap
from replicator.cli.check import check
from replicator.cli.demo import demo
from replicator.cli.discover import discover
from replicator.cli.serve import serve
from replicator.cli.status import status
from replicator.cli.verify import verify
from replicator.errors import ReplicatorError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="replicator")
def commands() -> None:
    """Carry every changed file from this backend to every frontend, milliseconds later.

    Exit codes: 0 done, 1 failed, 2 bad usage or config, 3 some frontends failed.
    """


for _command in (serve, bootstrap, status, discover, check, verify, demo, agent):
    commands.add_command(_command)


def main() -> None:
    """Run the command line of this process."""
    try:
        # In this mode click returns what a command exits with.
        sys.exit(commands.main(standalone_mode=False) or 0)
    except ReplicatorError as error:
        click.echo(f"replicator: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
