"""The command line: each command makes one call, and prints an error as one line.

Exit codes of every command: 0 done, 1 failed, 2 bad usage or config, 3 some frontends failed.
"""

from __future__ import annotations

import sys
from importlib import import_module

import click

from replicator import __version__
from replicator.errors import ReplicatorError
from replicator.shortage import shortage

COMMANDS = (
    "serve", "bootstrap", "status", "discover", "check", "verify", "wait", "pause", "unpause", "resume", "base", "preset", "demo", "agent",
)  # fmt: skip
"""Each is a module of this package with a function of the same name."""


class _OnDemand(click.Group):
    """Imports a command only when it runs: importing all would take half of the 0.1 s of a command that asks the daemon."""

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
    """Replicate every changed file from this backend to every frontend, within milliseconds.

    Exit codes: 0 done, 1 failed, 2 bad usage or config, 3 some frontends failed.
    """


def main() -> None:
    """Run the command line of this process."""
    try:
        # With standalone_mode=False click returns the exit code instead of exiting, and raises its errors.
        sys.exit(commands.main(standalone_mode=False) or 0)
    except ReplicatorError as error:
        click.echo(f"replicator: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except (MemoryError, OSError, RuntimeError, ImportError) as failure:
        lacking = shortage(failure)
        if not lacking:
            raise
        click.echo(f"replicator: {lacking}", err=True)
        sys.exit(1)
