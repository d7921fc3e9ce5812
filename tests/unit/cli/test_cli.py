"""The commands are all there, and those that only ask the daemon import no more than that takes."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from replicator import cli

HEAVY = ("asyncssh", "boto3", "numpy", "sqlite3", "structlog", "uvloop", "rich.progress")


def test_help_lists_every_command_with_what_it_does():
    printed = CliRunner().invoke(cli.commands, ["--help"]).output
    for name in cli.COMMANDS:
        (line,) = [line for line in printed.splitlines() if line.startswith(f"  {name} ")]
        assert len(line.split()) > 3


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name):
    result = CliRunner().invoke(cli.commands, [name, "--help"])
    assert result.exit_code == 0
    assert "--help" in result.output


def test_an_unknown_command_is_bad_usage():
    result = CliRunner().invoke(cli.commands, ["asyncio"])
    assert result.exit_code == 2
    assert "asyncio" in result.output


@pytest.mark.parametrize("name", ["bootstrap", "status", "verify"])
def test_who_only_asks_the_daemon_imports_little(name):
    script = (
        "import sys; from replicator.cli import commands;"
        f"commands.main([{name!r}, '--help'], standalone_mode=False);"
        f"print([heavy for heavy in {HEAVY!r} if heavy in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stderr.strip() == "[]"
