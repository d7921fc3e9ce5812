"""The HTTP server: what each path answers, to which clients, and how much of it at a time."""

import asyncio
import json
import socket

import pytest

pytest.importorskip("aiohttp")

from replicator.errors import SourceError
from replicator.http import server, snapshot
from tests.support.web_client import ask, connect, parsed, send, status

PATHS = (
    "/livez",
    "/healthz",
    "/readyz",
    "/metrics",
    "/api/v1/status",
    "/",
    "/page.js",
    "/page.css",
)


class Daemon:
    """What the server asks.

    Attributes:
        status: its answer; an exception is raised instead.
        hangs: True to never answer.
        asked: number of times that it was asked.
        listen: address and port of the server.
    """

    def __init__(self):
        self.status = status([{}])
        self.hangs = False
        self.asked = 0
        self.listen = ""

    async def answer(self):
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if isinstance(self.status, Exception):
            raise self.status
        return self.status

    async def get(self, path, **options):
        return await ask(self.listen, path, **options)


@pytest.fixture
async def daemon():
    daemon = Daemon()
    async with server.protocols(daemon.answer, ["Status.Example"]) as protocol:
        listening = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        host, port = listening.sockets[0].getsockname()
        daemon.listen = f"{host}:{port}"
        yield daemon
        listening.close()


async def test_metrics_are_rendered_once_for_each_status(daemon, monkeypatch):
    rendered, render = [], server.metrics.render

    def count(one):
        rendered.append(one)
        return render(one)

    monkeypatch.setattr(server.metrics, "render", count)
    answers = await asyncio.gather(*(daemon.get("/metrics") for _ in range(20)))
    answers += [await daemon.get("/metrics") for _ in range(20)]
    assert all(b"replicator_up 1" in answer.body for answer in answers)
    assert len(rendered) == daemon.asked


@pytest.mark.parametrize("path", PATHS)
async def test_every_path_answers_and_forbids_other_sites_to_read_it(daemon, path):
    answer = await daemon.get(path)
    assert answer.status == 200
    assert answer.body
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["server"] == "replicator"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"])
async def test_only_reading_is_possible(daemon, path, method):
    answer = await daemon.get(path, method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_head_answers_without_a_body(daemon):
    answer = await daemon.get("/livez", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    "path", ["/nothing", "/../page.js", "/page.js/../../server.py", "//etc/passwd", "/%2e%2e/x"]
)
async def test_other_paths_are_not_found(daemon, path):
    answer = await daemon.get(path)
    assert (answer.status, answer.body) == (404, b"not found\n")


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:9440",
        "127.0.0.1:9440",
        "[::1]:9440",
        "[::1]",
        "10.2.3.4",
        "status.example:80",
    ],
)
async def test_an_address_or_an_allowed_name_is_answered(daemon, host):
    assert (await daemon.get("/api/v1/status", host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:9440", "localhost.evil.example", "127.0.0.1.evil.example", "", "[", ":9440",
     "localhost:9440@evil.example", "xstatus.example"],
)  # fmt: skip
@pytest.mark.parametrize("path", PATHS)
async def test_a_foreign_name_that_resolves_to_this_machine_is_refused(daemon, host, path):
    assert (await daemon.get(path, host=host)).status in (400, 421)
    assert daemon.asked == 0


async def test_a_request_without_a_host_is_refused(daemon):
    assert (await daemon.get("/api/v1/status", host=None)).status in (400, 421)
    assert (await send(daemon.listen, b"GET /api/v1/status HTTP/1.0\r\n\r\n")).status in (400, 421)


async def test_the_status_is_that_of_the_daemon(daemon):
    answer = await daemon.get("/api/v1/status")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert json.loads(answer.body) == daemon.status


async def test_clients_share_one_status_for_a_while(daemon, monkeypatch):
    monkeypatch.setattr(snapshot, "MAX_AGE", 60.0)
    await asyncio.gather(*(daemon.get("/api/v1/status") for _ in range(20)))
    await daemon.get("/metrics")
    assert daemon.asked == 1


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"tree": {"state": "scanning"}}, "[-] tree /srv/www: it is still being scanned"),
        (
            {"tree": {"state": "halted", "problems": ["It is empty."]}},
            "[-] tree /srv/www: It is empty.",
        ),
        ({"provider": {"answered": False}}, "[-] discovery static: no answer yet"),
        ({"provider": {"answered": False, "error": "denied"}}, "[-] discovery static: denied"),
    ],
)
async def test_not_ready_while_a_source_or_all_discovery_is_unknown(daemon, wrong, line):
    daemon.status = status([{}], **wrong)
    answer = await daemon.get("/readyz?verbose")
    assert answer.status == 503
    assert line in answer.body.decode().splitlines()
    assert (await daemon.get("/readyz")).body == b"not ready\n"
    assert (await daemon.get("/livez")).status == 200


@pytest.mark.parametrize(
    "fine",
    [
        {
            "frontends": [{"state": "retrying", "connected": False, "last_error": "refused"}],
            "ok": False,
        },
        {"frontends": [{"state": "degraded"}], "ok": False},
        {"tree": {"state": "paused", "problems": ["90 of 100 paths were removed"]}},
        {"provider": {"error": "throttled", "failures": 3}},
    ],
)
async def test_a_sick_frontend_or_a_later_failure_of_discovery_does_not_make_the_backend_unready(
    daemon, fine
):
    daemon.status = status(**fine)
    assert (await daemon.get("/readyz")).status == 200


async def test_a_paused_tree_makes_the_daemon_unready(daemon):
    paused = {"since": 1.0, "by": "alice", "until": None}
    tree = {"state": "paused", "paused": paused, "problems": ["/srv/www is paused"]}
    daemon.status = status([{}], tree=tree)
    answer = await daemon.get("/readyz?verbose")
    assert (answer.status, b"[-] tree /srv/www: /srv/www is paused" in answer.body) == (503, True)


async def test_a_paused_frontend_is_named_though_the_daemon_is_ready(daemon):
    row = {"state": "paused", "last_error": "paused since noon by alice"}
    daemon.status = status([row], ok=False)
    answer = await daemon.get("/readyz?verbose")
    lines = answer.body.decode().splitlines()
    assert (answer.status, lines[-1]) == (200, "ready")
    assert "[!] frontend 10.0.0.1: paused since noon by alice" in lines


async def test_not_ready_if_the_catalog_cannot_be_read_and_the_reason_stays_in_the_log(daemon):
    daemon.status = SourceError("/var/lib/replicator/catalog.sqlite: disk I/O error")
    ready, page = await daemon.get("/readyz?verbose"), await daemon.get("/api/v1/status")
    assert (ready.status, page.status) == (503, 500)
    assert b"/var/lib" not in ready.body + page.body
    assert (await daemon.get("/livez")).status == 200


async def test_a_daemon_that_does_not_answer_is_not_ready_and_is_alive(daemon, monkeypatch):
    monkeypatch.setattr(snapshot, "WITHIN", 0.05)
    daemon.hangs = True
    assert (await daemon.get("/readyz")).status == 503
    assert (await daemon.get("/metrics")).status == 503
    assert (await daemon.get("/livez")).status == 200
    assert daemon.asked == 1


async def test_a_client_that_never_completes_a_request_shuts_out_nobody(daemon):
    silent = [await connect(daemon.listen) for _ in range(2 * server.MAX_CONNECTIONS)]
    for _, writer in silent:
        writer.write(b"GET /livez HTTP/1.1\r\nX-Slow: ")
    assert (await daemon.get("/livez")).status == 200
    ended = await asyncio.wait_for(asyncio.gather(silent[0][0].read(), return_exceptions=True), 10)
    assert ended == [b""] or isinstance(ended[0], ConnectionError)
    for _, writer in silent:
        writer.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
        + b"".join(b"X-%d: y\r\n" % n for n in range(500))
        + b"\r\n",
        b"\0\1\2 garbage\r\n\r\n",
    ],
)
async def test_long_or_broken_requests_are_refused(daemon, request_):
    try:
        answer = await send(daemon.listen, request_)
    except ConnectionError:
        return
    assert answer.status >= 400
    assert b"Traceback" not in answer.body
    assert (await daemon.get("/livez")).status == 200


async def test_a_body_is_neither_read_nor_an_error(daemon):
    reader, writer = await connect(daemon.listen)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
    async with asyncio.timeout(10):
        assert parsed(await reader.readuntil(b"\r\n\r\n")).status == 200
    writer.close()


async def test_a_client_that_hangs_up_harms_nobody(daemon, caplog):
    with socket.create_connection(daemon.listen.split(":")) as sock:
        sock.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await daemon.get("/livez")).status == 200
    assert caplog.records == []
