"""A frontend that sends false data, stalls or floods harms only itself: all others are served, and the backend's memory and files are safe.

Each test has one backend, many hostile frontends (or an attacker with their key), and an honest one.
"""

import asyncio
import os
import re
import time
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest

from replicator.config import SSHSettings
from replicator.delta.sums import RowMaker
from replicator.demo.trees import difference
from replicator.engine.frontend import compare
from replicator.errors import ControlError
from replicator.model import DIRECTORY, FILE, Entry
from replicator.ports import Address
from replicator.transport.ssh import SSHConnector
from replicator.wire import frames, messages
from replicator.wire.messages import (
    Acks,
    Batch,
    BlockSums,
    Hello,
    Listing,
    ListTree,
    Opened,
    OpenTree,
    SumBlocks,
)
from tests.support import hostile
from tests.support.backend import Backend
from tests.support.hostile import EVIL, Hostile, Mixed, hangs_up, line, raw, sends, silent
from tests.support.sshd import Keys, Sshd
from tests.support.waiting import FOREVER, wait_for

HELLO = Hello(messages.VERSION, messages.FEATURES, EVIL)
PATIENCE = 4.0
"""Seconds until a frontend that does not answer is given up; a busy machine must not let the honest one seem to be one."""
RETRY = {"first": 0.2, "cap": 2.0}
MEMORY = 64 << 20
FLOOD_MEMORY = 32 << 20
"""Most bytes that a flood of twice as many may add; parsing 1 MiB of empty lists takes 21 MiB for a moment."""
ROW = '["%s","f",420,1,1,"","",0,0]'


@contextmanager
def serving(directory, liars, files=3, size=1000, places=2, connector=None, **settings):
    """Yield a backend that serves these hostile frontends, and then an honest one."""
    (directory / "source" / "deep").mkdir(parents=True)
    for number in range(files):
        (directory / "source" / "deep" / f"{number}.jpg").write_bytes(os.urandom(size))
    secret = directory / "secret"
    secret.write_text("nobody's business")
    settings = {
        "ssh": {"op_timeout": PATIENCE, "connect_timeout": PATIENCE},
        "retry": RETRY,
        "bootstrap": {"concurrency": places},
        **settings,
    }
    before = hostile.tree_of(directory / "source"), secret.stat()
    connector = connector or Mixed(directory, **liars)
    hosts = [*liars, "honest"]
    with Backend(directory, hosts=hosts, connector=connector, **settings) as backend:
        backend.begun = time.monotonic()
        yield backend
        for number in range(3):
            deliver(backend, f"later-{number}")
        honest = backend.row("honest")
        assert (honest["state"], honest["last_error"], honest["logins"]) == ("live", "", 1)
        few_attempts(backend)
        for number in range(3):
            (backend.source / f"later-{number}").unlink()
    source, status = before
    now = hostile.tree_of(backend.source)
    root = str(backend.source)  # its times changed with our own uploads
    assert {p: s for p, s in now.items() if p != root} == {
        p: s for p, s in source.items() if p != root
    }
    assert secret.stat().st_atime_ns == status.st_atime_ns


def deliver(backend, name, seconds=FOREVER):
    """Upload something, and wait until the honest frontend has it, and all else."""
    (backend.source / name).write_text(name)
    site = backend.site("honest")
    wait_for(
        lambda: site.is_dir() and not difference(backend.source, site), backend.status, seconds
    )


def few_attempts(backend):
    """Attempts follow the back-off: a tenth of each delay at least, and the cap soon."""
    seconds = time.monotonic() - backend.begun
    most = 5 + seconds / (0.1 * RETRY["cap"])
    assert max(backend.connector.attempts.values()) <= most, backend.connector.attempts


def degraded(backend, host, pattern, seconds=FOREVER):
    """Wait until a frontend's error is as it should be; it is one printable line, and not live."""

    def is_reported():
        row = backend.row(host)
        return row["state"] != "live" and re.search(pattern, row["last_error"]) and row

    row = wait_for(is_reported, lambda: f"{host} {pattern}: {backend.row(host)}", seconds)
    harmless(row)
    return row


def harmless(row):
    texts = [row["last_error"], row["agent"], *(problem["reason"] for problem in row["problems"])]
    assert all(text.isprintable() and len(text) < 3000 for text in texts), texts


def at_open(*data):
    return {OpenTree: sends(*data)}


def json_acks(**fields):
    text = {"done": "[]", "refused": "[]", "taken": "0", **fields}
    return raw('{"t":"acks",' + ",".join(f'"{k}":{v}' for k, v in text.items()) + "}")


MALFORMED = {
    "truncated": (
        {OpenTree: lambda agent, _: (agent.send_raw(b"\0\0\0\x40\0\0\0\0{}"), agent.hang_up())},
        "ended",
    ),
    "long-header": (at_open(b"\0\x10\0\x01\0\0\0\0"), "too large"),
    "long-payload": (at_open(b"\0\0\0\x02\xff\xff\xff\xff{}"), "too large"),
    "no-json": (at_open(raw("{")), "not JSON"),
    "deep-json": (at_open(raw("[" * 500_000)), "not JSON"),
    "no-object": (at_open(raw("[]")), "not a JSON object"),
    "huge-int": (at_open(json_acks(taken="9" * 100_000)), "not JSON"),
    "not-utf8": (at_open(raw(b'{"t":"\xff"}')), "not JSON"),
    "unknown": (at_open(raw('{"t":"evil"}')), "unknown"),
    "no-kind": (at_open(raw('{"t":[]}')), "unknown"),
    "lacking": (at_open(raw('{"t":"acks"}')), "lacks"),
    "types": (at_open(raw('{"t":"opened","tree":"1","uid":[],"gid":{},"error":0}')), "expected"),
    "infinite": (at_open(json_acks(taken="Infinity")), "expected"),
    "bool": (at_open(json_acks(done="[true]")), "expected"),
    "ours": (at_open(OpenTree(1, b"/etc")), "unexpected"),
    "version": ({Hello: sends(HELLO._replace(version=2))}, "same release"),
    "features": ({Hello: sends(HELLO._replace(features=(EVIL,)))}, "same release"),
    "many-features": ({Hello: sends(HELLO._replace(features=("x",) * 9999))}, "expected"),
    "hello-twice": ({Hello: sends(HELLO, HELLO)}, "unexpected"),
    "opened-twice": (at_open(*[Opened(1, -1, -1)] * 2), "not asked"),
    "opened-another": (at_open(Opened(77, -1, -1)), "not asked"),
    "opened-first": ({Hello: sends(Opened(1, -1, -1))}, "not asked"),
    "unopened": (at_open(Opened(1, -1, -1, EVIL)), "cannot be used"),
    "listing": (at_open(Listing(0, (line(b"a"),), (), True)), "more than it was asked"),
    "acks-first": ({Hello: sends(Acks((1,), (), 0))}, "not under way"),
    "taken-first": ({Hello: sends(Acks((), (), 1 << 40))}, "has dealt with"),
    "negative": (at_open(json_acks(done="[-1]")), "expected"),
    "huge-detail": (at_open(Acks((), ((1, "failed", "x" * 1_000_000),), 0)), "expected a string"),
    "empty-acks": (at_open(json_acks() * 5000), "again and again"),
}


def test_an_agent_that_breaks_the_wire_format_harms_only_its_own_frontend(tmp_path):
    liars = {host: partial(Hostile, script) for host, (script, _) in MALFORMED.items()}
    with serving(tmp_path, liars) as backend:
        for host, (_, pattern) in MALFORMED.items():
            degraded(backend, host, pattern)


LISTINGS = {
    "dotdot": (hostile.lists_row(ROW % "../../etc/passwd"), "not a path"),
    "absolute": (hostile.lists_row(ROW % "/etc/passwd"), "not a path"),
    "empty": (hostile.lists_row(ROW % ""), "not a path"),
    "dot": (hostile.lists_row(ROW % "."), "not a path"),
    "slashes": (hostile.lists_row(ROW % "a//b"), "not a path"),
    "nul": (hostile.lists_row(ROW % "a\\u0000b"), "not a path"),
    "surrogate": (hostile.lists_row(ROW % "\\ud800"), "no name can hold"),
    "deep": (hostile.lists_row(ROW % ("d/" * 5000 + "f")), "too deep"),
    "nested": (hostile.lists_row(ROW % ("d/" * 300 + "f")), "too deep"),
    "long-name": (hostile.lists_row(ROW % ("n" * 10_000)), "not a path"),
    "negative": (hostile.lists_row('["a","f",420,-1,1,"","",0,0]'), "integer"),
    "size": (hostile.lists_row(f'["a","f",420,{1 << 63},1,"","",0,0]'), "integer"),
    "time": (hostile.lists_row(f'["a","f",420,1,{1 << 100},"","",0,0]'), "integer"),
    "mode": (hostile.lists_row('["a","f",61440,1,1,"","",0,0]'), "integer"),
    "kind": (hostile.lists_row('["a","s",420,1,1,"","",0,0]'), "kind"),
    "digest": (hostile.lists_row('["a","f",420,1,1,"","zz",0,0]'), "SHA-256"),
    "fields": (hostile.lists_row('["a","f"]'), "array of 9"),
    "unsorted": (hostile.lists([line(b"b"), line(b"a")]), "out of order"),
    "twice": (hostile.lists([line(b"b"), line(b"b")]), "out of order"),
    "again": (hostile.lists([line(b"b")], [line(b"a")]), "out of order"),
    "nothing": (hostile.lists([], end=False), "without an end"),
    "no-credit": (hostile.lists(*([line(b"%d" % n)] for n in range(9))), "more than it was asked"),
    "wide": (hostile.lists([line(b"%06d" % n) for n in range(5001)]), "array of at most"),
}


def test_a_malformed_listing_harms_only_its_own_frontend(tmp_path):
    liars = {host: partial(Hostile, script) for host, (script, _) in LISTINGS.items()}
    with serving(tmp_path, liars) as backend:
        for host, (_, pattern) in LISTINGS.items():
            degraded(backend, host, pattern)


def dripping(pieces, pause=0.2):
    """A script's step: send pieces slowly, without end."""
    return lambda agent, message: agent.send_later(pieces(message), pause)


def lines_one_by_one(request):
    for number in range(10_000):
        yield frames.encode(Listing(request.job, (line(b"%05d" % number),), (), False).header())


def bytes_of(message):
    return lambda _: (bytes([byte]) for byte in frames.encode(message.header()))


def stops_reading(agent, message):
    agent.honestly(message)
    agent.open.clear()


STALLED = {
    "drips-hello": ({Hello: dripping(bytes_of(HELLO))}, "in time"),
    "no-hello": ({Hello: silent}, "in time"),
    "drips-opened": ({OpenTree: dripping(bytes_of(Opened(1, -1, -1)))}, "in time|no answer"),
    "no-opened": ({OpenTree: silent}, "in time|no answer"),
    "no-listing": ({ListTree: silent}, "no answer .* a listing"),
    "half-listing": (hostile.lists([line(b"a")], end=False), "no answer .* a listing"),
    "drips-listing": ({ListTree: dripping(lines_one_by_one)}, "no answer .* a listing|more than"),
    "drips-bytes": (
        {ListTree: dripping(bytes_of(Listing(1, (line(b"a"),), (), True)))},
        "no answer .* a listing",
    ),
    "no-acks": ({Batch: silent}, r"no answer .* \d+ changes"),
    "drips-acks": (
        {Batch: lambda agent, _: agent.send_later([json_acks()] * 500, 0.1)},
        r"no answer .* \d+ changes|again and again",
    ),
    "creeping": (
        {
            Batch: lambda agent, _: agent.send_later(
                [json_acks(taken=str(n)) for n in range(500)], 0.1
            )
        },
        r"no answer .* \d+ changes",
    ),
    "never-room": (
        hostile.answers(lambda _, batch: Acks(tuple(c.number for c in batch.changes), (), 0)),
        "has not read what was sent",
    ),
    "reads-nothing": ({ListTree: stops_reading}, "no answer"),
}


def test_a_frontend_without_progress_loses_its_place_and_a_slow_one_does_not(tmp_path):
    def late(agent, message):
        acks = Acks(tuple(change.number for change in message.changes), (), agent.taken)
        asyncio.get_running_loop().call_later(0.4 * PATIENCE, agent.send, acks)

    liars = {"slow": partial(Hostile, {Batch: late})}
    liars |= {host: partial(Hostile, script) for host, (script, _) in STALLED.items()}
    with serving(
        tmp_path,
        {**liars, "slow": partial(Hostile, {Batch: late})},
        files=48,
        size=64 << 10,
        places=4,
    ) as backend:
        for host, (_, pattern) in STALLED.items():
            degraded(backend, host, pattern)
        wait_for(lambda: backend.row("slow")["state"] == "live", backend.status)
        assert backend.row("slow")["logins"] == 1
        assert backend.row("slow")["progress"]["seconds"] > 1.5 * PATIENCE


def test_floods_are_ended_and_cost_others_little_time_and_the_backend_no_memory(tmp_path):
    padded = raw('{"t":"acks","done":[],"refused":[],"taken":0,"x":"%s"}' % ("A" * 1_000_000))
    swelling = raw('{"t":"acks","done":[],"refused":[],"taken":0,"x":[%s[]]}' % ("[]," * 330_000))
    listing = Listing(0, tuple(line(b"%05d" % n) for n in range(4000)), (), False)
    floods = {
        "padded": padded,
        "swelling": swelling,
        "listings": frames.encode(listing.header()),
        "small": json_acks() * 5000,
        "payload": raw('{"t":"acks","done":[],"refused":[],"taken":0}', bytes(1 << 20)),
    }
    liars = {
        host: partial(Hostile, {Batch: silent, ListTree: silent}, flood)
        for host, flood in floods.items()
    }
    # All of them live in this process, with the honest one: on a slow machine it answers late.
    slow = {"op_timeout": 20.0, "connect_timeout": 20.0}
    with serving(tmp_path, liars, places=8, ssh=slow) as backend:
        deliver(backend, "warm")
        Hostile.read_bytes, before = 0, hostile.resident()
        most = before
        number = 0
        while Hostile.read_bytes < 2 * FLOOD_MEMORY:
            number += 1
            deliver(backend, f"later-{number % 3}")
            most = max(most, hostile.resident())
        assert most - before < FLOOD_MEMORY, (most - before) >> 20
        for host in liars:
            degraded(backend, host, "no answer|asked|again and again|in time")
        (backend.source / "warm").unlink()


def test_a_listing_without_an_end_is_ended_and_uses_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, "LINES", 200_000)
    liars = {"endless": partial(Hostile, hostile.lists_for_ever())}
    with serving(tmp_path, liars, places=1) as backend:
        deliver(backend, "warm")
        before = hostile.resident()
        degraded(backend, "endless", "no end")
        assert hostile.resident() - before < MEMORY
        (backend.source / "warm").unlink()


def test_extra_files_that_a_frontend_reports_are_deleted_only_there(tmp_path):
    extra = [line(b"deep/00-mine", kind="f"), *(line(b"extra/%02d" % n) for n in range(50))]
    liars = {"boaster": partial(Hostile, hostile.lists(extra))}
    with serving(tmp_path, liars) as backend:
        wait_for(lambda: backend.row("boaster")["state"] == "live", backend.status)
        (agent,) = backend.connector.spoken
        deleted = {
            change.path
            for batch in agent.of(Batch)
            for change in batch.changes
            if type(change).__name__ == "Delete"
        }
        assert deleted == {one.path for one in extra}


ANSWERS = {
    "never-sent": (lambda a, b: Acks((1 << 52,), (), a.taken), "not under way"),
    "twice": (lambda a, b: Acks((b.changes[0].number,) * 2, (), a.taken), "not under way"),
    "ahead": (lambda a, b: Acks((), (), a.taken + 1), "has dealt with"),
    "huge": (lambda a, b: Acks((), (), 1 << 53), "has dealt with"),
    "huge-detail": (lambda a, b: Acks((), ((1, "failed", "x" * 10_000),), 0), "expected a string"),
}


def test_a_false_answer_ends_only_its_own_connection(tmp_path):
    liars = {host: partial(Hostile, hostile.answers(make)) for host, (make, _) in ANSWERS.items()}
    with serving(tmp_path, liars) as backend:
        for host, (_, pattern) in ANSWERS.items():
            degraded(backend, host, pattern)


BIG = 3 << 20


def summed(answers_of):
    """Return a script that answers requests for sums with pairs of a message and rows."""

    def act(agent, request):
        for message, rows in answers_of(request):
            agent.send_raw(frames.encode(message.header(), [rows]))

    return {SumBlocks: act}


def rows_of(request, make, size=BIG):
    """Return the answer of an agent that has a file of `size` bytes, with the row that `make` returns for each block."""
    last = min(request.first + request.blocks, -(-size // request.block_size))
    rows = b"".join(make(request, block) for block in range(request.first, last))
    return [(BlockSums(request.job, size, EVIL[:9]), rows)]


FALSE_SUMS = {
    "unasked": (at_open(frames.encode(BlockSums(1).header())), "not asked"),
    "another": (summed(lambda r: [(BlockSums(r.job + 1), b"")]), "not asked"),
    "two": (summed(lambda r: [(BlockSums(r.job), b"")] * 2), "not asked"),
    "much": (summed(lambda r: [(BlockSums(r.job, BIG), bytes(12 * 8193))]), "more than it was"),
    "larger": (summed(lambda r: [(BlockSums(r.job, 1 << 50), b"")]), "more than it was"),
    "nothing": ({SumBlocks: silent}, "no answer to the request for block sums"),
    "no-number": (at_open(raw('{"t":"summed","job":1,"size":1.5,"version":""}')), "expected"),
    "long": (at_open(raw('{"t":"summed","job":1,"size":1,"version":"%s"}' % ("x" * 101))), "expected"),
}  # fmt: skip
USELESS_SUMS = {
    "random": summed(lambda r: rows_of(r, lambda *_: os.urandom(12))),
    "equal": summed(lambda r: rows_of(r, lambda *_: bytes(12))),
    "few": summed(lambda r: [(BlockSums(r.job, BIG), bytes(12))]),
    "incomplete": summed(lambda r: [(BlockSums(r.job, BIG), bytes(13))]),
    "other-versions": summed(
        lambda r: [(BlockSums(r.job, BIG, str(r.first)), rows_of(r, lambda *_: bytes(12))[0][1])]
    ),
}


def with_another_version(script):
    """Return a maker of agents that hold another version of a large file."""
    held = {b"deep": Entry(DIRECTORY, 0o755, 0, 1), b"deep/0.jpg": Entry(FILE, 0o644, 5, 1)}
    return partial(Hostile, script, b"", held)


def test_false_block_sums_harm_only_their_own_frontend(tmp_path):
    scripts = {host: script for host, (script, _) in FALSE_SUMS.items()} | USELESS_SUMS
    liars = {host: with_another_version(script) for host, script in scripts.items()}
    with serving(tmp_path, liars, files=1, size=BIG, places=len(liars)) as backend:
        deliver(backend, "warm")
        before = hostile.resident()
        for host, (_, pattern) in FALSE_SUMS.items():
            degraded(backend, host, pattern)
        for host in USELESS_SUMS:
            wait_for(lambda: backend.row(host)["state"] == "live", backend.status)  # noqa: B023
        assert hostile.resident() - before < MEMORY
        begun = {
            host: [one.delta for agent in agents for one in agent.of(messages.BeginFile)]
            for host, agents in spoken_by(backend).items()
        }
        assert {host for host in USELESS_SUMS if begun[host] == [False]} == set(USELESS_SUMS)
        (backend.source / "warm").unlink()


def spoken_by(backend):
    """Return the agents of each hostile frontend."""
    found = {}
    for host, agent in zip(backend.connector.hosts, backend.connector.spoken, strict=True):
        found.setdefault(host, []).append(agent)
    return found


def test_a_frontend_that_sums_what_it_does_not_have_gets_one_delta_and_then_the_file(tmp_path):
    """It knows the source, says that it has it, and refuses the delta: the next attempt is the whole file, not another search."""

    def claims(request):
        content = (tmp_path / "source/deep/0.jpg").read_bytes()
        start = request.first * request.block_size
        stretch = content[start : start + request.blocks * request.block_size]
        rows = RowMaker(request.block_size, request.multiplier).rows(memoryview(stretch))
        return [(BlockSums(request.job, BIG, "v"), rows)]

    def begun(agent, message):
        if message.delta:
            agent.send(Acks((), ((message.put.number, "base_mismatch", EVIL),), agent.taken))
        else:
            agent.honestly(message)

    def data(agent, message):
        if message.number in {one.put.number for one in agent.of(messages.BeginFile) if one.delta}:
            agent.send(Acks((), (), agent.taken))
        else:
            agent.honestly(message)

    script = {**summed(claims), messages.BeginFile: begun, messages.Data: data}
    liars = {"liar": with_another_version(script)}
    with serving(tmp_path, liars, files=1, size=BIG) as backend:
        wait_for(lambda: backend.row("liar")["state"] == "live", backend.status)
        (agent,) = backend.connector.spoken
        assert [one.delta for one in agent.of(messages.BeginFile)] == [True, False]
        assert len(agent.of(SumBlocks)) == 1


REASONS = ["denied", "not_empty", "path_refused", "base_mismatch", "no_space", "\x1b[2J"]


def test_refused_changes_are_retried_with_delays_and_details_are_escaped(tmp_path):
    refusers = [Hostile(hostile.refuses(reason)) for reason in REASONS]
    liars = {f"refuser-{n}": lambda n=n: refusers[n] for n in range(len(REASONS))}
    with serving(tmp_path, liars) as backend:
        for host in liars:
            row = wait_for(
                lambda host=host: (
                    (row := backend.row(host))["problems"] and "forged" in row["last_error"] and row
                ),
                backend.status,
            )
            harmless(row)
        deliver(backend, "warm")
        wait_for(lambda: all(asked(agent) > 5 for agent in refusers), backend.status)
        seconds = time.monotonic() - backend.begun
        for agent in refusers:
            assert asked(agent) <= 8 + seconds / (0.1 * RETRY["cap"])
        (backend.source / "warm").unlink()


def asked(agent):
    """Return how often the agent was sent the path that it was sent most often."""
    paths = [change.path for batch in agent.of(Batch) for change in batch.changes]
    return max((paths.count(path) for path in set(paths)), default=0)


def test_reconnects_to_an_agent_that_ends_after_any_message_slow_down(tmp_path):
    liars = {f"leaves-{point}": partial(Hostile, hostile.ends_at(point)) for point in range(1, 9)}
    liars["at-once"] = partial(Hostile, {Hello: hangs_up})
    # It is filled in no time, and gone: a success must not begin the count anew.
    liars["flapping"] = partial(Hostile, {messages.More: hangs_up})
    with serving(tmp_path, liars) as backend:
        tried = backend.connector.attempts
        wait_for(lambda: tried["flapping"] > 7, lambda: tried)
        few_attempts(backend)
        (backend.source / "for-those-who-leave-late").write_text("news")
        wait_for(lambda: all(tried[host] > 1 for host in liars), lambda: tried)
        (backend.source / "for-those-who-leave-late").unlink()


def test_sixty_frontends_in_memory_are_served_beside_one_that_floods(tmp_path):
    disks = {f"m{number}": {} for number in range(60)}
    liars = {host: partial(Hostile, None, b"", disk) for host, disk in disks.items()}
    liars["evil"] = partial(Hostile, {Batch: silent}, json_acks() * 5000)
    with serving(tmp_path, liars, files=20, places=8) as backend:

        def filled():
            return all(len(disk) >= 21 for disk in disks.values())

        wait_for(filled, backend.status)
        (backend.source / "news").write_text("news")
        wait_for(lambda: all(b"news" in disk for disk in disks.values()), backend.status)
        assert {backend.connector.attempts[host] for host in disks} == {1}
        (backend.source / "news").unlink()


def test_bootstrap_of_a_hostile_host_ends_with_its_reason(tmp_path):
    liars = {"stalls": partial(Hostile, {Batch: silent})}
    refused = pytest.raises(ControlError, match="stalls: no answer")
    with serving(tmp_path, liars) as backend, refused:
        backend.ask(command="bootstrap", host="stalls")


def test_verify_finds_a_wrong_digest_and_a_false_one_harms_only_its_frontend(tmp_path):
    """An agent that reports false digests harms only its own frontend. `verify` finds a digest that differs."""

    def wrong(agent, request):
        forged = line(b"deep/0.jpg", digest=bytes(32), size=1000)
        listed = (line(b"deep", kind=DIRECTORY, size=0), forged)
        agent.send(Listing(request.job, listed, (), True))

    with serving(tmp_path, {"forger": partial(Hostile, {ListTree: wrong})}, files=1) as backend:
        wait_for(lambda: backend.row("forger")["state"] == "live", backend.status)
        (report,) = backend.ask(command="verify", host="forger")
        assert "deep/0.jpg" in report["paths"]


MARKER = "printf '\\n\\000REPLICATOR\\000 agent ready\\n'"
SHELLS = {
    "noise": ("exec yes noise", "prints more than 64 KiB"),
    "errors": ("exec yes noise >&2", "floods us|did not start within"),
    "drips": ("while printf x; do sleep 0.3; done", "did not start within"),
    "closes": ("head -c 3000 /dev/urandom; exit 3", "exit status 3"),
    "junk": (f"{MARKER}; exec yes", "frame too large"),
    "drips-frame": (f"{MARKER}; while printf '\\000'; do sleep 1; done", "in time"),
}


@pytest.fixture
def shells(tmp_path_factory):
    """Real OpenSSH servers whose only user gets another program than the agent."""
    directory = tmp_path_factory.mktemp("shells")
    keys = Keys(directory / "keys")
    with ExitStack() as stack:
        servers = {}
        for number, (name, (script, _)) in enumerate(SHELLS.items()):
            (directory / name).mkdir()
            (directory / name / "shell").write_text(f"{script}\n")
            server = Sshd(
                directory / name,
                keys=keys,
                address=f"127.0.0.{20 + number}",
                forced_command=f"sh {directory / name / 'shell'}",
            )
            servers[name] = stack.enter_context(server)
        known = directory / "known_hosts"
        known.write_text("".join(server.known_hosts_line() for server in servers.values()))
        settings = SSHSettings(
            user="root" if os.geteuid() == 0 else "",
            identity=str(keys.identity),
            known_hosts=str(known),
            connect_timeout=5.0,
        )
        yield servers, SSHConnector(settings)


def test_a_login_over_ssh_that_runs_something_else_than_our_agent(tmp_path, shells):
    servers, connector = shells
    liars = {name: Address(server.address, port=server.port) for name, server in servers.items()}
    mixed = Mixed(tmp_path, **liars)
    mixed.ssh = connector
    with serving(tmp_path, liars, connector=mixed) as backend:
        deliver(backend, "warm")
        before = hostile.resident()
        for name, (_, pattern) in SHELLS.items():
            degraded(backend, name, pattern)
        assert hostile.resident() - before < MEMORY
        (backend.source / "warm").unlink()
