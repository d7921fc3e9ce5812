"""`replicator status` for people: it fits the width, cuts nothing off, and colours only states."""

import pytest
from rich.console import Console

from replicator.cli.status_view import latest_events, view
from tests.support.web_client import BASE, status

FILLING = {
    "files_done": 81, "files_total": 200, "bytes_done": 40, "bytes_total": 100, "bytes_per_second": 2 << 20,
    "eta_seconds": 9.6, "seconds": None,
}  # fmt: skip
REASON = "no answer in time on port 22: is the machine running, and does its security group let the backend in?"
ANSWER = status(
    [
        {"host": "web1", "bytes_sent": 5 << 20},
        {"host": "web2", "port": 2222, "state": "retrying", "connected": False, "dirty": None, "lag_seconds": None, "last_error": REASON},
        {"host": "web3", "state": "bootstrapping", "progress": FILLING, "dirty": 120, "lag_seconds": 3.25},
        {"host": "web4", "state": "queued", "queue_position": 2},
    ],
    {"state": "paused", "problems": ["9 of 10 paths were removed."], "held_deletions": 9, "held_samples": ["a/b"], "unreadable": ["key"]},
    ok=False,
    hooks=[],
)  # fmt: skip


def plain(answer, **options):
    return [line.plain for line in view(answer, width=None, **options)]


def line_of(lines, name):
    (line,) = [line for line in lines if line.startswith(name)]
    return line


def test_the_base_is_one_line_and_its_error_is_yellow():
    (tree,) = BASE["trees"]
    base = BASE | {"trees": [tree | {"current_at": 1870.0}, tree]}
    assert "base: 2 trees are published, up to date 2 min ago" in plain(ANSWER | {"base": base})
    base["trees"].append(tree | {"current_at": None})
    assert "base: 2 of 3 trees are published" in plain(ANSWER | {"base": base})
    base["error"] = "unreachable"
    assert "base not published: unreachable" in plain(ANSWER | {"base": base})
    base |= {"error": "", "prune_error": "denied"}
    assert "garbage of the base not removed: denied" in plain(ANSWER | {"base": base})


def test_a_base_that_was_not_up_to_date_for_long_is_yellow_although_there_is_no_error():
    """Its publication may hang, for example on a file system that does not answer."""
    (tree,) = BASE["trees"]
    for current_at, style in ((1000.0, "dim"), (2000.0 - 4300.0, "yellow")):
        base = BASE | {"trees": [tree | {"current_at": current_at}]}
        (line,) = [one for one in view(ANSWER | {"base": base}, width=None) if "base:" in one.plain]
        assert [str(span.style) for span in line.spans] == [style] or str(line.style) == style


def test_a_pipe_gets_one_line_for_each_row_and_sentence():
    lines = plain(ANSWER)
    assert lines[0] == "not all is in sync: 1 of 4 frontends hold everything; up for 18 min"
    assert line_of(lines, "web1").split() == [
        "web1",
        "live",
        "17",
        "min",
        "0",
        "0.0",
        "s",
        "5.0",
        "MiB",
    ]
    assert line_of(lines, "web2:2222").split()[:6] == [
        "web2:2222",
        "retrying",
        "17",
        "min",
        "?",
        "?",
    ]
    assert f"  {REASON}" in lines
    assert line_of(lines, "web3").endswith("2.0 MiB/s  40 %, 81 of 200 files, 10 s to go")
    assert line_of(lines, "web4").endswith("place 2 in the queue")
    for expected in (
        "  9 of 10 paths were removed.",
        "  unreadable: key",
        "  deletions held back, such as: a/b",
    ):
        assert expected in lines


@pytest.mark.parametrize("width", [50, 60, 80, 120, 200])
def test_rows_fit_the_terminal_and_sentences_are_wrapped_not_cut(width):
    console = Console(
        width=width, force_terminal=True, color_system=None, markup=False, emoji=False
    )
    rows = [line.plain for line in view(ANSWER, width=width)]
    assert len(line_of(rows, "web1")) <= width
    for name in ("web1", "web2:2222", "web3", "web4"):
        assert line_of(rows, name).split()[1] in ("live", "retrying", "bootstrapping", "queued")
    with console.capture() as captured:
        for line in view(ANSWER, width=width):
            console.print(line)
    shown = captured.get()
    assert max(map(len, shown.splitlines())) <= width
    assert REASON.replace(" ", "") in shown.replace("\n", "").replace(" ", "")


def test_what_matters_less_is_left_out_first():
    narrow, wide = (
        line_of([line.plain for line in view(ANSWER, width=width)], "frontend")
        for width in (66, 140)
    )
    assert wide.split() == [
        "frontend",
        "state",
        "since",
        "dirty",
        "lag",
        "sent",
        "rate",
        "progress",
    ]
    assert {"frontend", "state", "dirty", "progress"} <= set(narrow.split()) < set(wide.split())


def test_only_states_have_a_colour():
    lines = view(ANSWER, width=None)
    colours = {
        line.plain[span.start : span.end].strip(): span.style
        for line in lines[1:]
        for span in line.spans
        if span.style and span.style != "dim"
    }
    assert colours == {
        "paused": "yellow",
        "live": "green",
        "retrying": "red",
        "bootstrapping": "blue",
        "queued": "blue",
    }


def test_the_rate_of_a_live_frontend_follows_from_two_answers():
    before = status([{"host": "web1", "bytes_sent": 1 << 20}], time=1998.0)
    now = status([{"host": "web1", "bytes_sent": 5 << 20}])
    assert "2.0 MiB/s" in line_of(plain(now, before=before), "web1")
    assert "/s" not in line_of(plain(now), "web1")
    assert "/s" not in line_of(plain(before, before=now), "web1")


def test_all_in_sync_is_shown_only_if_ok_is_true():
    assert plain(status([{}]))[0].startswith("all is in sync")
    assert plain(status([{}], ok=False))[0].startswith("not all is in sync")
    assert plain(status(ok=True))[0].startswith("all is in sync: no frontend is known; up for")


def test_a_configuration_that_was_refused_is_named():
    refused = status([{}], config={"read_at": 1.0, "error": "tree[0].source: must be absolute"})
    (line,) = [line for line in plain(refused) if "configuration" in line]
    assert line == (
        "the configuration was not reloaded, the former one is in force: tree[0].source: must be absolute"
    )


def test_an_error_is_shown_once_and_markup_in_names_is_escaped():
    hostile = "[red]x[/red] [/nothing]"
    rows = [
        {
            "host": "web1",
            "state": "degraded",
            "last_error": f"{hostile}: denied",
            "unlisted": [f"{hostile}: denied"],
        }
    ]
    console = Console(width=200, markup=False, emoji=False)
    with console.capture() as captured:
        for line in view(status(rows, ok=False), width=None):
            console.print(line)
    assert captured.get().count(f"{hostile}: denied") == 1


@pytest.mark.parametrize(
    ("error", "reason", "text"),
    [
        ("a/b: Permission denied", "denied: Permission denied", "a/b: denied: Permission denied"),
        ("a/b: vanished", "vanished: ", "a/b: vanished"),
        ("paused; a/b: full", "no_space: full", "paused; a/b: no_space: full"),
    ],
)
def test_the_latest_error_is_shown_once_with_the_code_of_its_reason(error, reason, text):
    row = {"host": "web1", "state": "degraded", "last_error": error}
    row["problems"] = [{"path": "a/b", "reason": reason}, {"path": "c", "reason": "denied: no"}]
    lines = [line.strip() for line in plain(status([row], ok=False))]
    assert [line for line in lines if "a/b" in line] == [text]
    assert "c: denied: no" in lines


def test_a_problem_is_shown_although_the_error_of_a_longer_path_ends_like_it():
    row = {"host": "web1", "state": "degraded", "last_error": "a/b: Permission denied"}
    row["problems"] = [
        {"path": path, "reason": "denied: Permission denied"} for path in ("a/b", "b")
    ]
    lines = [line.strip() for line in plain(status([row], ok=False))]
    assert "b: denied: Permission denied" in lines


def test_an_http_server_that_does_not_listen_is_shown():
    made = status(
        [{}], http={"listen": "127.0.0.1:9440", "error": "another program uses this address."}
    )
    assert plain(made)[-1] == "another program uses this address."


def test_the_latest_events_end_with_the_newest():
    events = [
        {
            "number": n,
            "at": 2000.0 - 60 + n,
            "event": "frontend",
            "level": "info",
            "about": {"host": f"web{n}"},
            "count": 1,
        }
        for n in range(20)
    ]
    lines = [line.plain for line in latest_events(status(events=events))]
    assert len(lines) == 8
    assert lines[-1] == "  41 s ago  frontend  host=web19"


def test_a_hook_shows_how_its_last_run_ended_or_that_it_runs():
    def hook(name, **more):
        row = {
            "event": "delivered", "command": [name], "runs": 5, "failures": 1, "last_error": "", "waiting": 2,
            "running_seconds": None, "last_at": 1940.0, "last_seconds": 0.5, "last_status": 0,
        }  # fmt: skip
        return row | more

    hooks = [
        hook("/a"),
        hook("/b", last_status=3, last_error="it failed with exit status 3"),
        hook("/c", last_status=None, last_error="it was ended after 30 s"),
        hook("/d", running_seconds=12.0),
        hook("/e", runs=0, failures=0, last_at=None, last_seconds=None, last_status=None),
    ]
    lines = plain(status([{}], hooks=hooks))
    assert line_of(lines, "/a").split() == [
        "/a",
        "delivered",
        "5",
        "1",
        "2",
        "ok",
        "60",
        "s",
        "ago",
    ]
    assert line_of(lines, "/b").endswith("exit status 3 60 s ago")
    assert line_of(lines, "/c").endswith("failed 60 s ago")
    assert line_of(lines, "/d").endswith("running for 12 s")
    assert line_of(lines, "/e").split() == ["/e", "delivered", "0", "0", "2"]
    assert "  it failed with exit status 3" in lines


def test_a_pause_of_what_is_not_served_is_shown():
    gone = {"what": "web9", "since": 1.0, "by": "", "until": None}
    lines = plain(status([{}], pauses=[gone]))
    assert any("web9 is not served at present" in line and "unpause web9" in line for line in lines)
