"""cli: turns a command line into one call, and an error into one line and an exit code.

Exit codes of every command: 0 done, 1 failed, 2 bad usage or config, 3 some frontends failed.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

from replicator import __version__
from replicator.errors import ReplicatorError

COMMANDS = (
    "serve", "bootstrap", "status", "discover", "check", "verify", "resume", "preset", "demo", "agent",
)  # fmt: skip
"""Each is a module of this package with a function of the same name."""


class _OnDemand(click.Group):
    """Imports a command when it is asked for: asking a daemon takes a tenth of a second, of which imports would be half."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        return command


@click.group(cls=_OnDemand, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="replicator")
def commands() -> None:
    """Carry every changed file from this backend to every frontend, milliseconds later.

    Exit codes: 0 done, 1 failed, 2 bad usage or config, 3 some frontends failed.
    """


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
