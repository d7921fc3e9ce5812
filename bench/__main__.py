"""`python -m bench list | run [CASE...] | report FILE... | compare OLD NEW`."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bench import micro, report, runner, whole
from bench.case import Case, Params
from bench.stage import Stage, docker, loopback

CASES = {case.name: case for case in (*micro.CASES, *whole.CASES)}
_NUMBER = re.compile(r"(\d+)\s*([KMG]?)(?:i?B)?", re.IGNORECASE)


class Setting(click.ParamType[tuple[str, int]]):
    """A parameter of cases: `size=4MiB`, `files=1000000`."""

    name = "name=number"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, int]:
        """Return name and number."""
        if isinstance(value, tuple):
            return value
        key, _, number = value.partition("=")
        match = _NUMBER.fullmatch(number)
        if match is None:
            self.fail(f"{value!r} is no setting such as size=4MiB", param, ctx)
        return key, int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2].upper()]


@click.group()
def main() -> None:
    """Measure replicator and comparable programs; bench/README.md explains what the figures show."""


@main.command("list")
def list_cases() -> None:
    """Print every case, what it does, and who takes part."""
    for case in CASES.values():
        click.echo(f"{case.name:22} {case.about}  [{', '.join(case.contestants)}]")


@main.command()
@click.argument("cases", nargs=-1)
@click.option("--contestant", "contestants", multiple=True, help="Only these; may be repeated.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--set", "settings", type=Setting(), multiple=True, help="Another value for a parameter of the cases.")  # fmt: skip
@click.option("--tiny", is_flag=True, help="So small that it only shows that everything works.")
@click.option("--on", "place", default="loopback", show_default=True, help="Where frontends are: loopback, docker, or a JSON file that describes them.")  # fmt: skip
@click.option("--json", "path", type=click.Path(path_type=Path), help="Append the rows to a file.")
def run(  # one for each option
    cases: tuple[str, ...],
    contestants: tuple[str, ...],
    rounds: int,
    settings: tuple[tuple[str, int], ...],
    place: str,
    path: Path | None,
    *,
    tiny: bool,
) -> None:
    """Run cases (default: all), and print a JSON line for each measurement.

    Exits 1 if something failed or gave a wrong result.
    """
    unknown = [name for name in cases if name not in CASES]
    if unknown:
        raise click.BadParameter(f"no case {unknown[0]!r}: see `python -m bench list`")
    chosen = _chosen(cases, dict(settings), tiny=tiny)
    _refuse_unknown(chosen, contestants, settings)
    failed = []

    def say(text: str) -> None:
        click.echo(text, err=True)
        failed.extend([text] if text.startswith("FAILED") else [])

    again = [*cases, *(f"--contestant={name}" for name in contestants), f"--rounds={rounds}"]
    again += [*(f"--set={key}={value}" for key, value in settings), *(["--tiny"] if tiny else [])]
    rows = 0
    for row in _measure(runner.Plan(chosen, contestants, rounds), place, again, say):
        rows += 1
        line = json.dumps(row)
        click.echo(line)
        if path is not None:
            with path.open("a") as file:
                file.write(line + "\n")
    if not rows:
        click.echo("nothing was measured", err=True)
    sys.exit(1 if failed or not rows else 0)


def _refuse_unknown(
    chosen: Sequence[tuple[Case, Params]],
    contestants: Sequence[str],
    settings: Sequence[tuple[str, int]],
) -> None:
    """Refuse contestants and parameters that no chosen case has; they would be ignored silently."""
    for name in contestants:
        if not any(name in case.contestants for case, _ in chosen):
            raise click.BadParameter(f"none of the cases has a contestant {name!r}")
    for name, _ in settings:
        if not any(name in params for _, params in chosen):
            raise click.BadParameter(f"none of the cases has a parameter {name!r}")


def _chosen(
    names: Sequence[str], settings: dict[str, int], *, tiny: bool
) -> list[tuple[Case, Params]]:
    """Return the cases with their parameters, overridden by those settings that a case has."""
    found: dict[str, tuple[Case, Params]] = {}
    for case in (CASES[name] for name in names or CASES):
        for params in (case.tiny,) if tiny else case.variants:
            given = {**params, **{k: v for k, v in settings.items() if k in params}}
            found[f"{case.name} {given}"] = case, given
    return list(found.values())


def _measure(
    plan: runner.Plan, place: str, arguments: Sequence[str], say: runner.Say
) -> Iterator[dict[str, Any]]:
    """Set up the frontends, yield the measurements, and remove the frontends; `arguments` repeat the call inside a container."""
    frontends = max((params.get("frontends", 0) for _, params in plan.cases), default=0)
    if place == "docker":
        yield from docker.run(arguments, frontends, say)
        return
    if frontends and place == "loopback" and (why := loopback.missing()):
        say(f"skipped: all cases with frontends: {why}")
        frontends = 0
        without = [(case, params) for case, params in plan.cases if "frontends" not in params]
        plan = replace(plan, cases=without)
    if not frontends:
        yield from runner.run(plan, say)
    elif place == "loopback":
        with loopback.frontends(frontends) as stage:
            yield from runner.run(replace(plan, stage=stage), say)
    else:
        stage = docker.inside() if place == "inside" else Stage.read(Path(place))
        yield from runner.run(replace(plan, stage=stage), say)


@main.command("report")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--plots", type=click.Path(path_type=Path), help="Also draw, into this directory (needs matplotlib).")  # fmt: skip
def print_report(files: tuple[Path, ...], plots: Path | None) -> None:
    """Print the rows of files as Markdown: medians and ratios, and which targets are met."""
    rows = [row for file in files for row in _rows(file)]
    click.echo(report.markdown(rows))
    if plots is not None:
        from bench import plots as drawing

        for path in drawing.draw(rows, plots):
            click.echo(f"drawn: {path}", err=True)


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
    """Run one step of one measurement; called in a separate process."""
    runner.step(CASES[case], what, contestant, place, json.loads(params))


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines() if line]


# Exit by SystemExit on SIGTERM and SIGHUP, so that servers and containers are removed.
for ending in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(ending, lambda number, _: sys.exit(128 + number))
main(prog_name="python -m bench")
