"""The page in a real browser: what it shows of each state, live, safely, on each screen.

With SCREENSHOTS=DIRECTORY each state is saved as a picture.
"""

import asyncio
import math
import os
import time
from pathlib import Path

import pytest

pytest.importorskip("aiohttp")

from replicator.http import server, snapshot
from tests.support.browser import browser, needs_chromium
from tests.support.web_client import FRONTEND, free_port, status

HOSTILE = (
    '<img src=x onerror="document.title=1">&amp;\u202eexe.php</td><script>document.title=2</script>'
)
FILLING = {
    "files_done": 8123, "files_total": 20_000, "bytes_done": 162 << 20, "bytes_total": 400 << 20,
    "bytes_per_second": 24 << 20, "eta_seconds": 9.9, "seconds": None,
}  # fmt: skip


class Shown:
    """A server whose daemon has the status that the test sets."""

    def __init__(self):
        self.url = f"http://127.0.0.1:{free_port()}/"
        self.status = idle()
        self.asked = 0
        self._running = None

    async def answer(self):
        self.asked += 1
        return self.status

    async def start(self):
        self._running = server.protocols(self.answer, ())
        protocol = await self._running.__aenter__()
        port = int(self.url.rstrip("/").rpartition(":")[2])
        self._server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", port)

    async def stop(self):
        if self._running is not None:
            self._server.close()
            await self._running.__aexit__(None, None, None)
            self._running = None


def delivery(now):
    """Ten minutes of deliveries with a burst and a gap."""
    recent = [
        {
            "at": now - 600 + 10 * n,
            "count": 5,
            "p50": 0.005 + 0.002 * math.sin(n / 4),
            "p99": 0.02 + 0.3 * (25 < n < 29),
        }
        for n in range(60)
        if not 40 < n < 46
    ]
    return {"trees": [], "recent": recent, "count": 270, "p50": 0.0053, "p99": 0.31}


def event(number, what, level="info", count=1, **about):
    at = time.time() - 300 + number
    return {
        "number": number,
        "at": at,
        "event": what,
        "level": level,
        "about": about,
        "count": count,
    }


def idle():
    now = time.time()
    made = status(
        [{"host": f"10.0.0.{n}", "instance_id": f"i-0a1b2c3d4e5f{n:05}", "since": now - 86_400, "in_sync_at": now} for n in range(1, 5)],
        {"entries": 20_481, "bytes": 412 << 20, "since": now - 90_000, "watches": 812},
        time=now, delivery=delivery(now), inotify={"watches": 812, "limit": 65_536},
    )  # fmt: skip
    made["events"] = [event(n, "frontend", host=f"10.0.0.{n}", state="live") for n in range(1, 5)]
    return made


def scale_out():
    made = idle()
    for n in range(5, 13):
        first = n < 7
        made["frontends"].append(FRONTEND | {
            "host": f"10.0.0.{n}", "instance_id": f"i-0a1b2c3d4e5f{n:05}", "source": "autoscaling web",
            "state": "bootstrapping" if first else "queued", "queue_position": None if first else n - 6,
            "dirty": None, "lag_seconds": None, "in_sync_at": None, "since": time.time() - 12,
            "progress": FILLING | {"bytes_done": n * (30 << 20)}, "launch": "waiting until it is filled" if first else "",
        })  # fmt: skip
    return made | {"ok": False, "bootstrapping": 2}


def failing():
    made = idle()
    made["frontends"][1] |= {
        "state": "retrying", "connected": False, "dirty": 214, "lag_seconds": 412.0, "since": time.time() - 412,
        "last_error": "10.0.0.2: no answer in time on port 22: is the machine running, and does its security group let the backend in?",
    }  # fmt: skip
    made["frontends"][2] |= {
        "state": "degraded", "dirty": 3, "lag_seconds": 65.0, "since": time.time() - 65,
        "last_error": "shop/hero.jpg: No space left on device",
        "problems": [{"path": f"shop/{n}.jpg", "reason": "no_space: No space left on device"} for n in range(3)],
    }  # fmt: skip
    made["trees"][0] |= {
        "state": "paused", "pending": 9120, "held_deletions": 9120, "held_samples": ["shop/2024/a.jpg", "shop/2024/b.jpg"],
        "problems": [
            "9120 of 20481 paths were removed in one go, so no more deletions are sent. If that was meant: `replicator resume`."
        ],
        "unreadable": ["private/key.pem"],
    }  # fmt: skip
    made["discovery"] = [
        made["discovery"][0] | {
            "provider": "autoscaling web", "error": "AWS does not answer: RequestLimitExceeded", "failures": 3,
            "decisions": [{"frontend": "10.0.0.9", "instance_id": "i-9", "state": "Terminating", "decision": "drop", "reason": "it is leaving the group"}],
        }
    ]  # fmt: skip
    made["events"] += [
        event(10, "deleted", count=40, tree="/srv/www", paths="shop/2024/a.jpg, shop/2024/b.jpg, shop/2024/c.jpg and 197 more"),
        event(11, "deletions paused", "error", tree="/srv/www", reason="9120 of 20481 paths were removed in one go"),
        event(12, "frontend failed", "warning", host="10.0.0.2", reason="no answer in time"),
    ]  # fmt: skip
    return made | {"ok": False}


def hundred():
    made = idle()
    made["frontends"] = [
        FRONTEND
        | {"host": f"10.0.{n // 50}.{n}", "since": time.time() - n, "in_sync_at": time.time()}
        for n in range(100)
    ]
    made["frontends"][77] |= {
        "state": "retrying",
        "connected": False,
        "last_error": "connection refused",
    }
    return made | {"ok": False}


@pytest.fixture
async def shown(monkeypatch):
    monkeypatch.setattr(snapshot, "MAX_AGE", 0.0)
    made = Shown()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def page():
    needs_chromium()
    async with browser() as page:
        yield page


async def picture(page, name):
    if directory := os.environ.get("SCREENSHOTS"):
        Path(directory).mkdir(exist_ok=True)
        await page.screenshot(Path(directory) / f"{name}.png")


def without_icon(urls):
    return {url for url in urls if not url.endswith("/icon.svg")}


async def test_the_headline_states_the_overall_state(shown, page):
    for state, headline, kind in (
        (idle, "Everything is in sync", "good"),
        (scale_out, "Catching up", "busy"),
        (failing, "5 problems", "bad"),
        (hundred, "1 problem", "bad"),
        (status, "No frontends", "busy"),
    ):
        shown.status = state()
        await page.open(shown.url)
        await page.shows(headline, "h1")
        assert await page.run("document.body.dataset.state") == kind
        await picture(page, state.__name__)
    names = ("", "page.css", "page.js", "api/v1/status")
    assert without_icon(page.requests) == {shown.url + name for name in names}
    assert page.complaints == []


async def test_problems_are_shown_in_full(shown, page):
    shown.status = failing()
    await page.open(shown.url)
    text = await page.shows("does its security group let the backend in?", "#frontends")
    assert "shop/2.jpg: no_space: No space left on device" in text
    trees = await page.text("#trees")
    assert "`replicator resume`" in trees
    assert "shop/2024/a.jpg" in trees
    assert "RequestLimitExceeded" in await page.text("#discovery")
    assert "deleted \u00d7 40" in await page.text("#events")


async def test_progress_of_a_fill_is_shown(shown, page):
    shown.status = scale_out()
    await page.open(shown.url)
    text = await page.shows("bootstrapping", "#frontends")
    assert "37 %, 8,123 of 20,000 files, 10 s left" in text
    assert "place 1 in the queue" in text
    widths = await page.run("[...document.querySelectorAll('.progress b')].map(b => b.style.width)")
    assert widths == ["37.5%", "45%"]


async def test_verifications_are_shown_their_failures_and_the_next_time(shown, page):
    made = idle()
    error = "10.0.0.1: it is retrying"
    made["frontends"][0]["verified"] = {"at": 1.0, "differing": 0, "paths": [], "error": error}
    made["verify"] = {"schedule": "daily 03:30", "next": made["time"] + 7200, "running": ""}
    shown.status = made
    await page.open(shown.url)
    assert f"not verified: {error}" in await page.shows("not verified", "#frontends")
    assert "verification daily 03:30, next in 2 h" in await page.text("#about")
    made["verify"]["running"] = "10.0.0.2"
    await page.shows("10.0.0.2 is being verified", "#about")


def hook(command, **more):
    row = {
        "event": "delivered", "command": [command], "runs": 0, "failures": 0, "last_error": "", "waiting": 0,
        "running_seconds": None, "last_at": None, "last_seconds": None, "last_status": None,
    }  # fmt: skip
    return row | more


async def test_hooks_are_shown_with_their_last_run_and_a_failing_one_is_a_problem(shown, page):
    shown.status = idle()
    await page.open(shown.url)
    await page.shows("Everything is in sync", "h1")
    assert await page.run("document.querySelector('#hooks').hidden")
    ran = {"runs": 1204, "last_at": time.time() - 130, "last_seconds": 0.25, "last_status": 0}
    shown.status = idle() | {
        "hooks": [
            hook("/usr/local/bin/purge", **ran),
            hook("/usr/local/bin/new"),
            hook("/usr/local/bin/slow", running_seconds=12.4, waiting=7),
        ]
    }
    text = await page.shows("/usr/local/bin/purge", "#hooks")
    for part in (
        "ok",
        "delivered",
        "2 min ago",
        "0.3 s",
        "1,204",
        "no run yet",
        "never",
        "running for 12 s",
    ):
        assert part in text
    assert await page.text("h1") == "Everything is in sync"
    error = "it failed with exit status 4"
    failed = ran | {"failures": 3, "last_error": error, "last_status": 4}
    shown.status["hooks"][0] |= failed
    shown.status["hooks"][1] |= failed | {
        "last_error": "it was ended after 30 s",
        "last_status": None,
    }
    shown.status["hooks"][2] |= failed | {"running_seconds": None, "last_status": -9}
    await page.shows("3 problems", "h1")
    text = await page.shows("exit status 4", "#hooks")
    assert "signal 9" in text
    assert f"hook /usr/local/bin/purge {error}" in await page.text("#attention")
    await picture(page, "hooks")
    await page.open(shown.url, width=375, height=800)
    await page.shows("/usr/local/bin/purge", "#hooks")
    assert await page.run("document.documentElement.scrollWidth") <= 375
    await picture(page, "phone-hooks")


async def test_what_is_paused_does_not_look_well(shown, page):
    made = idle()
    pause = {"since": time.time() - 60, "by": "alice", "until": None}
    made["frontends"][2] |= {
        "state": "paused",
        "paused": pause,
        "last_error": "paused since noon by alice",
    }
    made["trees"][0] |= {
        "state": "paused",
        "paused": pause,
        "problems": ["/srv/www is paused since noon"],
    }
    shown.status = made | {"ok": False}
    await page.open(shown.url)
    await page.shows("2 problems", "h1")
    assert await page.run("document.body.dataset.state") == "warn"
    assert "paused since noon by alice" in await page.text("#attention")
    assert (await page.text("#frontends tbody")).startswith("paused")
    assert "3 live" in await page.text("#states")
    assert "1 paused" in await page.text("#states")
    await picture(page, "paused")


async def test_hostile_names_are_text(shown, page):
    made = failing()
    made["hooks"] = [
        hook(HOSTILE, event=HOSTILE, last_error=HOSTILE, last_at=1.0, last_seconds=1.0)
    ]
    made["trees"][0] |= {
        "source": f"/srv/{HOSTILE}",
        "unreadable": [HOSTILE],
        "held_samples": [HOSTILE],
        "problems": [HOSTILE],
    }
    made["frontends"][1] |= {
        "host": HOSTILE,
        "last_error": HOSTILE,
        "instance_id": HOSTILE,
        "launch": HOSTILE,
    }
    made["frontends"][2]["problems"] = [{"path": HOSTILE, "reason": HOSTILE}]
    made["discovery"][0] |= {"provider": HOSTILE, "notes": [HOSTILE], "error": HOSTILE}
    made["events"] = [event(1, HOSTILE, "error", **{HOSTILE: HOSTILE})]
    shown.status = made
    await page.open(shown.url)
    await page.shows("<img src=x onerror", "#events")
    for part in ("#frontends", "#trees", "#hooks", "#discovery", "#attention"):
        assert "<script>document.title=2</script>" in await page.text(part)
    assert await page.run("document.querySelectorAll('main img, main script').length") == 0
    assert await page.run("document.title") == "6 problems \u2013 replicator"
    assert page.complaints == []


async def test_a_script_that_gets_into_the_page_is_not_run(shown, page):
    await page.open(shown.url)
    await page.shows("Everything is in sync", "h1")
    with pytest.raises(AssertionError, match="TrustedHTML"):
        await page.run("document.body.innerHTML = '<b>x</b>'")
    await page.run(
        "document.body.append(Object.assign(document.createElement('style'), {textContent: 'main {display: none}'}))"
    )
    assert await page.run("getComputedStyle(document.querySelector('main')).display") != "none"


async def test_it_follows_the_daemon_without_reloading(shown, page):
    await page.open(shown.url)
    await page.shows("Everything is in sync", "h1")
    await page.run("window.mark = 1")
    shown.status = failing()
    await page.shows("5 problems", "h1")
    shown.status = idle()
    await page.shows("Everything is in sync", "h1")
    assert await page.run("window.mark") == 1


async def test_a_daemon_that_goes_away_is_not_shown_as_well_and_comes_back(shown, page):
    await page.open(shown.url)
    await page.shows("Everything is in sync", "h1")
    await shown.stop()
    await page.shows("The daemon does not answer", "h1")
    assert await page.run("document.body.dataset.state") == "gone"
    assert "Below is what it said at" in await page.text("#subline")
    await picture(page, "gone")
    await shown.start()
    await page.shows("Everything is in sync", "h1")


async def test_an_open_list_stays_open(shown, page):
    shown.status = failing()
    await page.open(shown.url)
    await page.shows("1 path cannot be read", "#trees")
    await page.run("document.querySelector('#trees details').open = true")
    asked = shown.asked
    shown.status = made = failing()
    made["trees"][0]["entries"] = 4711
    await page.shows("4,711", "#trees")
    assert shown.asked > asked
    assert await page.run("document.querySelector('#trees details').open")


async def test_a_hundred_frontends_have_a_row_each_with_the_bad_one_first(shown, page):
    shown.status = hundred()
    await page.open(shown.url)
    await page.shows("99 live", "#states")
    rows = await page.run(
        "[...document.querySelectorAll('#frontends tbody tr:not(.said)')].map(r => r.innerText)"
    )
    assert len(rows) == 100
    assert rows[0].startswith("retrying")


async def test_nothing_is_cut_off_on_a_phone(shown, page):
    for state in (idle, scale_out, failing):
        for dark in (False, True):
            shown.status = state()
            await page.open(shown.url, width=375, height=800, dark=dark)
            await page.shows("10.0.0.4", "#frontends")
            assert await page.run("document.documentElement.scrollWidth") <= 375
            await picture(page, f"phone-{state.__name__}{'-dark' * dark}")


async def test_it_is_dark_where_the_system_is(shown, page):
    shown.status = failing()
    await page.open(shown.url, dark=True)
    await page.shows("5 problems", "h1")
    paper = await page.run("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, paper.strip("rgb()").split(","))) < 150
    await picture(page, "dark")
