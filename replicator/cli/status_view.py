"""The answer to `status` as lines for people: columns that fit the width, and below each row what there is to say about it.

Nothing is cut off: on a terminal long sentences are wrapped, in a pipe each is one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from rich.text import Text

from replicator.cli.common import size_text

STYLES = {
    "live": "green", "watching": "green",
    "connecting": "blue", "queued": "blue", "bootstrapping": "blue", "scanning": "blue",
    "degraded": "yellow", "paused": "yellow",
    "retrying": "red", "halted": "red",
}  # fmt: skip
"""Colour of each state."""

GAP = "  "

LATE, MARGIN = 2, 3600.0
"""A base is late after this multiple of its interval and this many seconds, as for the alert ReplicatorBaseOld."""

LATEST = 8
"""Events that `--watch` shows."""


class Row(NamedTuple):
    """One row: its cells, and sentences about it."""

    cells: Sequence[str]
    notes: Sequence[str] = ()


class Section(NamedTuple):
    """A table. Of the columns, those in `optional` are left out, the last one first, where the width does not suffice."""

    titles: Sequence[str]
    rows: Sequence[Row]
    right: frozenset[str] = frozenset()
    optional: Sequence[str] = ()


def view(
    answer: dict[str, Any], *, width: int | None, before: dict[str, Any] | None = None
) -> list[Text]:
    """Return the lines.

    Args:
        answer: the answer to `status`.
        width: columns of the terminal; None: as wide as it takes.
        before: an earlier answer, from which rates follow.
    """
    sections = [_trees(answer), _frontends(answer, before), _discovery(answer), _hooks(answer)]
    lines = [_headline(answer)]
    for section in sections:
        if section.rows:
            lines += [Text(), *_lines(section, width)]
    if base := answer.get("base"):
        lines += [Text(), Text(*_base(base))]
    if schedule := answer.get("verify", {}).get("schedule"):
        lines += [Text(), Text(_verification(answer, schedule), "dim")]
    for one in answer.get("pauses", ()):
        text = f"{one['what']} is not served at present, and stays paused if it returns: `replicator unpause {one['what']}`"
        lines += [Text(), Text(text, "yellow")]
    if refused := answer.get("config", {}).get("error"):
        text = f"the configuration was not reloaded, the former one is in force: {refused}"
        lines += [Text(), Text(text, "yellow")]
    if http := answer.get("http", {}).get("error"):
        lines += [Text(), Text(http, "yellow")]
    return lines


def latest_events(answer: dict[str, Any]) -> list[Text]:
    """Return the latest events, the newest last."""
    events = answer.get("events", [])[-LATEST:]
    return [
        Text.assemble(
            (f"{_age(answer['time'] - one['at']):>6} ago  ", "dim"),
            (one["event"], {"error": "red", "warning": "yellow"}.get(one["level"], "")),
            GAP,
            (" ".join(f"{name}={value}" for name, value in one["about"].items()), "dim"),
        )
        for one in events
    ]


def _headline(answer: dict[str, Any]) -> Text:
    rows = answer["frontends"]
    synced = sum(row["state"] == "live" and row["dirty"] == 0 for row in rows)
    text = "all is in sync" if answer["ok"] else "not all is in sync"
    about = f"{synced} of {len(rows)} frontends hold everything" if rows else "no frontend is known"
    about = f": {about}; up for {_age(answer['uptime_seconds'])}"
    return Text.assemble((text, "green" if answer["ok"] else "yellow"), about)


def _base(base: dict[str, Any]) -> tuple[str, str]:
    """Return what there is to say of the base, and its colour."""
    if base["error"]:
        return f"base not published: {base['error']}", "yellow"
    if base["prune_error"]:
        return f"garbage of the base not removed: {base['prune_error']}", "yellow"
    current = [row["current_at"] for row in base["trees"] if row["current_at"] is not None]
    if len(current) < len(base["trees"]) or not current:
        return f"base: {len(current)} of {len(base['trees'])} trees are published", "dim"
    age = base["time"] - min(current)
    late = age > LATE * base["interval"] + MARGIN
    return f"base: {len(current)} trees are published, up to date {_age(age)} ago", (
        "yellow" if late else "dim"
    )


def _trees(answer: dict[str, Any]) -> Section:
    rows = []
    for row in answer["trees"]:
        notes = [*row["problems"], *(f"unreadable: {path}" for path in row["unreadable"])]
        if row["held_samples"]:
            notes.append(f"deletions held back, such as: {', '.join(row['held_samples'])}")
        since = _age(answer["time"] - row["since"])
        numbers = (
            str(row["entries"]),
            size_text(row["bytes"]),
            str(row["pending"]),
            _known(row["held_deletions"]),
        )
        rows.append(Row((row["source"], row["state"], since, *numbers), notes))
    titles = ("tree", "state", "since", "entries", "size", "pending", "held")
    return Section(titles, rows, frozenset(titles[2:]), ("since", "size"))


def _frontends(answer: dict[str, Any], before: dict[str, Any] | None) -> Section:
    rows = []
    for row in answer["frontends"]:
        cells = (
            _address(row),
            row["state"],
            _age(answer["time"] - row["since"]),
            _known(row["dirty"]),
            "?" if row["lag_seconds"] is None else f"{row['lag_seconds']:.1f} s",
            size_text(row["bytes_sent"]),
            _rate(row, answer, before),
            _progress(row),
        )
        rows.append(Row(cells, list(_notes(row))))
    titles = ("frontend", "state", "since", "dirty", "lag", "sent", "rate", "progress")
    return Section(titles, rows, frozenset(titles[2:7]), ("lag", "since", "sent", "rate"))


def _discovery(answer: dict[str, Any]) -> Section:
    rows = [
        Row((row["provider"], str(row["members"])), notes)
        for row in answer["discovery"]
        if (notes := list(filter(None, [row["error"], row["doubt"], *row["notes"]])))
    ]
    return Section(("discovery", "members"), rows, frozenset({"members"}))


def _hooks(answer: dict[str, Any]) -> Section:
    rows = [
        Row(
            (
                row["command"][0],
                row["event"],
                *map(str, (row["runs"], row["failures"], row["waiting"])),
                _last_run(row, answer["time"]),
            ),
            [row["last_error"]] if row["last_error"] else [],
        )
        for row in answer.get("hooks", ())
    ]
    titles = ("hook", "event", "runs", "failed", "waiting", "last run")
    return Section(titles, rows, frozenset(titles[2:5]))


def _last_run(row: dict[str, Any], now: float) -> str:
    if row["running_seconds"] is not None:
        return f"running for {_age(row['running_seconds'])}"
    if row["last_at"] is None:
        return ""
    failed = "failed" if row["last_status"] is None else f"exit status {row['last_status']}"
    return f"{failed if row['last_error'] else 'ok'} {_age(now - row['last_at'])} ago"


def _verification(answer: dict[str, Any], schedule: str) -> str:
    """Return a line about the scheduled verifications."""
    about = answer["verify"]
    if about.get("error"):
        return f"verification ({schedule}) fails: {about['error']}"
    if about["running"]:
        return f"verification ({schedule}): {about['running']} is being verified"
    if about["next"] is None:
        return f"verification ({schedule})"
    return f"verification ({schedule}): the next one in {_age(about['next'] - answer['time'])}"


def _lines(section: Section, width: int | None) -> Iterator[Text]:
    columns = list(range(len(section.titles)))
    table = [section.titles, *(row.cells for row in section.rows)]
    widths = [max(len(cells[column]) for cells in table) for column in columns]
    for title in section.optional:
        if width is None or sum(widths[c] + len(GAP) for c in columns) - len(GAP) <= width:
            break
        columns.remove(section.titles.index(title))
    padded = [
        [
            cells[c].rjust(widths[c])
            if section.titles[c] in section.right
            else cells[c].ljust(widths[c])
            for c in columns
        ]
        for cells in table
    ]
    yield Text(GAP.join(padded[0]).rstrip(), "dim")
    for row, cells in zip(section.rows, padded[1:], strict=True):
        yield _coloured(cells)
        yield from (Text(f"{GAP}{note}") for note in row.notes)


def _coloured(cells: Sequence[str]) -> Text:
    """Return a line in which the second cell, the state, has its colour."""
    state = cells[1].strip()
    line = Text.assemble(
        cells[0], GAP, (cells[1], STYLES.get(state, "")), *(GAP + cell for cell in cells[2:])
    )
    line.rstrip()
    return line


def _address(row: dict[str, Any]) -> str:
    return f"{row['host']}:{row['port']}" if row["port"] else str(row["host"])


def _known(number: float | None) -> str:
    return "?" if number is None else f"{number}"


def _age(seconds: float) -> str:
    for unit, length, below in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds / length < below:
            return f"{max(0, round(seconds / length))} {unit}"
    return f"{round(seconds / 86_400)} d"


def _rate(row: dict[str, Any], answer: dict[str, Any], before: dict[str, Any] | None) -> str:
    """Return how much is sent per second, from two answers, or while it is filled on average since that began."""
    rate = row["progress"]["bytes_per_second"] if row["state"] == "bootstrapping" else 0
    if before is not None and answer["time"] > before["time"]:
        for former in before["frontends"]:
            if _address(former) == _address(row):
                rate = max(0, row["bytes_sent"] - former["bytes_sent"]) / (
                    answer["time"] - before["time"]
                )
    return f"{size_text(rate)}/s" if rate else ""


def _progress(row: dict[str, Any]) -> str:
    progress = row["progress"]
    if row["queue_position"]:
        return f"place {row['queue_position']} in the queue"
    if row["state"] != "bootstrapping":
        return ""
    done, total = progress["bytes_done"], progress["bytes_total"]
    share = f"{100 * done // total} %, " if total else ""
    eta = f", {progress['eta_seconds']:.0f} s to go" if progress["eta_seconds"] is not None else ""
    return f"{share}{progress['files_done']} of {progress['files_total']} files{eta}"


def _notes(row: dict[str, Any]) -> Iterable[str]:
    """Yield what there is to say about a frontend, each once."""
    error, problems = row["last_error"], []
    for one in row["problems"]:
        text = f"{one['path']}: {one['reason']}".removesuffix(": ")
        # The latest error is one of the problems without the code of its reason, perhaps after why the frontend is paused.
        if f"; {error}".endswith(f"; {(short := _in_short(one))}"):
            error = error.removesuffix(short) + text
        else:
            problems.append(text)
    details = [error, row["excess"], *row["unlisted"]]
    verified = row.get("verified") or {}
    details += [f"not verified: {verified['error']}"] if verified.get("error") else []
    details += [f"launch hook: {row['launch']}"] if row["launch"] else []
    details += ["not ready: its ready files do not exist"] if row["ready"] is False else []
    details += ["draining"] if row["draining"] else []
    details += problems
    if row["source"] != "static":
        details.append(f"{row['source']} {row['instance_id']} {row['discovery_state']}".strip())
    return dict.fromkeys(filter(None, details))


def _in_short(problem: dict[str, str]) -> str:
    """Return a problem without the code of its reason, as `last_error` has it."""
    code, _, detail = problem["reason"].partition(": ")
    return f"{problem['path']}: {detail or code}"
