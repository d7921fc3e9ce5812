"""`replicator discover`: print the answer of each provider."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from replicator.cli.common import config_option, run
from replicator.config import load

if TYPE_CHECKING:
    from replicator.discover_once import Answer


@click.command(short_help="Ask every provider once; print each frontend.")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def discover(context: click.Context, config: str, *, as_json: bool) -> None:
    """Ask every provider once; print each frontend, its state, and whether replicator serves it.

    Needs no daemon and changes nothing. Exits 0 when every answer is complete, 3 when a part is missing, 1 when no provider
    answered.
    """
    from replicator.discover_once import ask_all

    settings = load(config)
    answers = run(ask_all(settings))
    if as_json:
        click.echo(json.dumps({"providers": [answer.row() for answer in answers]}, indent=2))
    else:
        for answer in answers:
            _print(answer)
    asked = [answer for answer in answers if answer.name != "static" or len(answers) == 1]
    if asked and not any(answer.result for answer in asked):
        context.exit(1)
    context.exit(0 if all(answer.whole for answer in asked) else 3)


def _print(answer: Answer) -> None:
    if answer.result is None:
        click.echo(f"{answer.name}: FAILED: {answer.error}")
        return
    whole = (
        "" if answer.result.complete else " (incomplete: no frontend is dropped for being absent)"
    )
    click.echo(f"{answer.name}: {len(answer.result.candidates)} seen{whole}")
    for note in answer.result.notes:
        click.echo(f"  note: {note}")
    if answer.result.candidates:
        table = Table("address", "instance", "source", "state", "decision", "why", box=None)
        for row in answer.row()["sightings"]:
            table.add_row(*(_text(row[name]) for name in ("address", "instance_id", "source", "state", "decision", "reason")))  # fmt: skip
        # Not a terminal: 240 columns, so that lines are not wrapped.
        console = Console()
        console.print(table) if console.is_terminal else Console(width=240).print(table)


def _text(value: Any) -> str:  # noqa: ANN401  # JSON values
    return str(value) if value else "-"
