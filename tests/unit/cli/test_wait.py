"""`wait`: which tree a path is in, and what is printed."""

import asyncio
import os
import threading
from types import SimpleNamespace

import pytest

from replicator import cli
from replicator.cli import wait
from replicator.control import server, socket_path
from replicator.errors import ControlError


@pytest.fixture
def config(tmp_path):
    (tmp_path / "site" / "media" / "d").mkdir(parents=True)
    (tmp_path / "link").symlink_to("site")
    sources = [tmp_path / "site", tmp_path / "site" / "media"]
    return SimpleNamespace(tree=[SimpleNamespace(source=str(source)) for source in sources])


@pytest.mark.parametrize(
    ("path", "source", "relative"),
    [
        ("site", "site", ""),
        ("site/", "site", ""),
        ("site/f", "site", "f"),
        ("link/f", "site", "f"),
        ("link", "site", ""),
        ("site/media/d/../f", "site/media", "f"),
        ("site/gone/f", "site", "gone/f"),
        ("site/medial", "site", "medial"),
    ],
)
def test_a_path_is_relative_to_the_innermost_source(config, tmp_path, path, source, relative):
    assert wait.area_of(config, f"{tmp_path}/{path}") == (str(tmp_path / source), relative)


def test_a_symlink_in_a_source_is_itself_what_is_waited_for(config, tmp_path):
    (tmp_path / "site" / "current").symlink_to("media")
    assert wait.area_of(config, str(tmp_path / "site" / "current")) == (
        str(tmp_path / "site"),
        "current",
    )


def test_a_path_may_be_relative_to_the_working_directory(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "site" / "media")
    assert wait.area_of(config, "d") == (str(tmp_path / "site" / "media"), "d")


def test_a_path_in_no_source_is_an_error(config, tmp_path):
    for path in (tmp_path, tmp_path / "site2", "/"):
        with pytest.raises(ControlError, match="none of the replicated"):
            wait.area_of(config, os.fspath(path))


class Daemon(threading.Thread):
    """A control socket that gives these lines as its answer."""

    def __init__(self, state, lines):
        super().__init__()
        self._state, self._lines = state, lines
        self.ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._end = asyncio.Event()

    def run(self):
        self._loop.run_until_complete(self._serve())

    async def _serve(self):
        async def handle(request):
            self.request = request
            for line in self._lines:
                yield line

        async with server.serve(socket_path(self._state), handle):
            self.ready.set()
            await self._end.wait()

    def __enter__(self):
        self.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._end.set)
        self.join()
        self._loop.close()


OUTCOME = {
    "finished": True, "ok": True, "seconds": 0.5, "frontends": ["web1", "web2"],
    "left": [], "not_serving": [], "waits_for": [],
}  # fmt: skip


@pytest.fixture
def run(tmp_path, capsys):
    (tmp_path / "site").mkdir()
    (tmp_path / "state").mkdir()
    file = tmp_path / "replicator.toml"
    file.write_text('[[tree]]\nsource = "site"\n[state]\ndirectory = "state"\n')

    def run(lines, *arguments):
        with Daemon(str(tmp_path / "state"), lines) as daemon:
            command = ["wait", *arguments, "--config", str(file)]
            status = cli.commands.main(command, standalone_mode=False)
        return status, daemon.request, capsys.readouterr()

    return run


def test_a_confirmation_names_the_frontends(run, tmp_path):
    status, request, printed = run([{"waits_for": []}, OUTCOME], str(tmp_path / "site" / "f"))
    assert status == 0
    assert request["areas"] == [[str(tmp_path / "site"), "f"]]
    assert request["timeout"] == wait.TIMEOUT
    assert printed.out == "confirmed by 2 frontends in 0.500 s: web1, web2\n"


def test_unconfirmed_frontends_are_printed_and_the_exit_status_is_3(run):
    lacking = {"waits_for": [{"who": "web2", "why": "not connected"}], "left": ["web3"]}
    outcome = OUTCOME | lacking | {"ok": False, "not_serving": ["web4"]}
    status, request, printed = run([outcome], "--frontend", "web2:2222", "--timeout", "5")
    assert status == 3
    assert (request["host"], request["port"], request["timeout"]) == ("web2", 2222, 5)
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "web3: left the fleet; no longer waiting for it",
        "web4: it is being filled; not waiting for it",
        "web2: not connected",
        "not confirmed after 0.5 s",
    ]


@pytest.mark.parametrize("lines", [[], [{"waits_for": []}]])
def test_an_answer_without_an_outcome_is_an_error(run, lines):
    with pytest.raises(ControlError, match="without an outcome"):
        run(lines)
