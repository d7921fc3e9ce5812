"""`python -m bench list | run [CASE...] | report FILE... | compare OLD NEW`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import click

from bench import busy, micro, report, runner

CASES = {case.name: case for case in (*micro.CASES, *busy.CASES)}
_SIZE = re.compile(r"(\d+)\s*([KMG]?)(?:i?B)?", re.IGNORECASE)


class Size(click.ParamType[int]):
    """Bytes: `4MiB`, `256M`, `65536`."""

    name = "size"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:  # noqa: ANN401  # click's own types
        """Return the number."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is no size", param, ctx)
        return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2].upper()]


@click.group()
def main() -> None:
    """Measure replicator beside its peers; bench/README.md says what the figures show, and what not."""


@main.command("list")
def list_cases() -> None:
    """Print every case, what it does, and who takes part."""
    for case in CASES.values():
        click.echo(f"{case.name:22} {case.about}  [{', '.join(case.contestants)}]")


@main.command()
@click.argument("cases", nargs=-1)
@click.option("--contestant", "contestants", multiple=True, help="Only these; may be repeated.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--size", "sizes", type=Size(), multiple=True, default=("4MiB", "256MiB"), show_default=True)  # fmt: skip
@click.option("--json", "path", type=click.Path(path_type=Path), help="Append the rows to a file.")
def run(
    cases: tuple[str, ...],
    contestants: tuple[str, ...],
    rounds: int,
    sizes: tuple[int, ...],
    path: Path | None,
) -> None:
    """Run cases (default: all), and print a JSON line for each measurement.

    Exits 1 if something failed or gave a wrong result.
    """
    unknown = [name for name in cases if name not in CASES]
    if unknown:
        raise click.BadParameter(f"no case {unknown[0]!r}: see `python -m bench list`")
    failed = []

    def say(text: str) -> None:
        click.echo(text, err=True)
        failed.extend([text] if text.startswith("FAILED") else [])

    chosen = [CASES[name] for name in cases or CASES]
    for size in sizes:
        for row in runner.run(chosen, contestants=contestants, size=size, rounds=rounds, say=say):
            line = json.dumps(row)
            click.echo(line)
            if path is not None:
                with path.open("a") as file:
                    file.write(line + "\n")
    sys.exit(1 if failed else 0)


@main.command("report")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def print_report(files: tuple[Path, ...]) -> None:
    """Print the rows of files as a Markdown table."""
    click.echo(report.markdown([row for file in files for row in _rows(file)]))


@main.command("compare")
@click.argument("old", type=click.Path(exists=True, path_type=Path))
@click.argument("new", type=click.Path(exists=True, path_type=Path))
def print_comparison(old: Path, new: Path) -> None:
    """Print how the medians of two files differ."""
    click.echo(report.compare(_rows(old), _rows(new)))


@main.command(hidden=True)
@click.argument("what")
@click.argument("case")
@click.argument("contestant")
@click.argument("place", type=click.Path(path_type=Path))
@click.argument("params")
def step(what: str, case: str, contestant: str, place: Path, params: str) -> None:
    """One step of one measurement, in a process of its own."""
    runner.step(CASES[case], what, contestant, place, json.loads(params))


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines() if line]


main(prog_name="python -m bench")
