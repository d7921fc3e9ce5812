"""A hostile backend against a pinned agent: nothing outside the root is touched, and what is only refused breaks no stream."""

import hashlib
import json
import os
import struct
import subprocess
import sys

import pytest

from replicator.wire import changes, frames, messages
from replicator.wire.changes import Delete, MakeDirectory, MakeSymlink, Move, PutFile, SetAttributes
from replicator.wire.messages import Batch, BeginFile, Data, Hello, ListTree, OpenTree

AGENT = (
    "import sys; from replicator.agent.main import main; sys.exit(main(['--root', sys.argv[1]]))"
)
HELLO = b"hello"
DIGEST = hashlib.sha256(HELLO).digest()


class Agent:
    """A pinned agent in a child process, and the bytes that go to it."""

    def __init__(self, root):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", AGENT, str(root)],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            bufsize=0,
        )
        self.decoder = frames.Decoder()
        self.ready = []
        self.process.stdin.write(b"4 unused\ncode")  # streamed code that a pinned agent drops
        seen = b""
        while frames.MARKER not in seen:
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, self.process.stderr.read()
            seen += piece
        self.receive(seen.partition(frames.MARKER)[2])
        self.say(Hello(messages.VERSION, messages.FEATURES))
        assert isinstance(self.hear(), Hello)

    def say(self, message, *payload):
        self.process.stdin.write(frames.encode(message.header(), payload))

    def hear(self):
        """Return the next message; None when the agent has ended."""
        while not self.ready:
            data = os.read(self.process.stdout.fileno(), 1 << 20)
            if not data:
                return None
            self.receive(data)
        return self.ready.pop(0)

    def receive(self, data):
        self.decoder.receive(data)
        self.ready += [messages.decode(frame.header) for frame in self.decoder.frames()]

    def open(self, root=b"/site", tree=1):
        self.say(OpenTree(tree, root))
        return self.hear()

    def end(self):
        self.process.stdin.close()
        said = self.process.stderr.read().decode()
        return self.process.wait(10), said


@pytest.fixture
def world(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "canary").write_text("alive")
    yield tmp_path
    assert (tmp_path / "outside" / "canary").read_text() == "alive"
    assert [p.name for p in (tmp_path / "outside").iterdir()] == ["canary"]


@pytest.fixture
def agent(world):
    agent = Agent(world / "root")
    with agent.process:  # closes its pipes, and waits for it
        yield agent


def put(path, number=1, size=5):
    return PutFile(number, 1, path, 0o644, size, 10**18, DIGEST)


def raw_batch(*rows):
    return frames.encode({"t": "batch", "changes": list(rows)}, [HELLO])


@pytest.mark.parametrize("target", [b"/", b"//", b"relative", b"/..", b"/site/../.."])
def test_a_root_that_is_none_is_refused(agent, target):
    assert agent.open(target).error or agent.process.poll() is None
    assert not (agent.open(b"/site").error)


def test_a_target_is_looked_for_inside_the_root(agent, world):
    assert agent.open(b"/srv/site").error == ""
    assert (world / "root/srv/site").is_dir()
    assert agent.open(os.fsencode(world / "root/own"), tree=2).error == ""
    assert (world / "root/own").is_dir()


def test_a_root_behind_a_symlink_is_refused(agent, world):
    (world / "root" / "link").symlink_to(world / "outside")
    assert agent.open(b"/link").error
    assert agent.open(b"/link/deeper").error


@pytest.mark.parametrize(
    "path", ["/etc/x", "../x", "a/../../x", "", ".", "a//b", "a\0b", "x" * 256, "a/" * 300 + "a"]
)
def test_a_path_out_of_the_root_ends_the_connection(agent, world, path):
    agent.open()
    agent.process.stdin.write(raw_batch(["f", 1, 1, path, 0o644, 5, 0, DIGEST.hex()]))
    code, said = agent.end()
    assert code == 1
    assert "not a path" in said or "nested" in said
    assert list((world / "root/site").iterdir()) == []


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">II", 2**32 - 1, 0),
        struct.pack(">II", 10, 2**31),
        struct.pack(">II", 2, 0) + b"[]",
        frames.encode({"t": "nonsense"}),
        frames.encode(
            {"t": "batch", "changes": [["f", 1, 1, "a", 0o644, 99, 0, DIGEST.hex()]]}, [HELLO]
        ),
        frames.encode({"t": "batch", "changes": []}, [HELLO]),
        frames.encode({"t": "data", "n": 7, "ops": [], "end": True, "cancel": False}),
        frames.encode({"t": "batch", "changes": [["x", -1, 1, "a"]]}),
        frames.encode({"t": "acks", "done": [1], "refused": [], "taken": 0}),
        b"GET / HTTP/1.1\r\n\r\n" + b"x" * 100,
    ],
)
def test_what_breaks_the_wire_format_ends_the_connection_with_one_line(agent, data):
    agent.open()
    agent.process.stdin.write(data)
    code, said = agent.end()
    assert code == 1
    assert len(said.strip().splitlines()) == 1
    assert "Traceback" not in said


def test_a_tree_that_is_not_open_is_refused_and_the_stream_goes_on(agent):
    agent.open()
    agent.process.stdin.write(raw_batch(["f", 1, 9, "a", 0o644, 5, 0, DIGEST.hex()]))
    assert agent.process.wait(10) == 1 if (answer := agent.hear()) is None else answer.refused


def test_symlinks_below_the_root_are_never_followed(agent, world):
    agent.open()
    (world / "root/site/link").symlink_to(world / "outside")
    batch = [
        put(b"link/new"),
        MakeDirectory(2, 1, b"link/dir", 0o777, 0),
        MakeSymlink(3, 1, b"link/sym", 0, b"x"),
        Delete(4, 1, b"link/canary"),
        SetAttributes(5, 1, b"link/canary", 0o777, 5, 0, 0, b""),
        Move(6, 1, b"link/canary", b"stolen"),
        put(b"fine", number=7),
    ]
    agent.say(Batch(tuple(batch)), HELLO, HELLO)
    answer = agent.hear()
    assert 7 in answer.done
    assert {number for number, _, _ in answer.refused} >= {1, 2, 3, 5, 6}
    assert (world / "root/site/fine").read_bytes() == HELLO


def test_setuid_is_stripped_and_a_wrong_digest_leaves_nothing(agent, world):
    agent.open()
    agent.say(
        Batch((put(b"a")._replace(mode=0o6755), put(b"b", 2)._replace(digest=b"\0" * 32))),
        HELLO,
        HELLO,
    )
    answer = agent.hear()
    assert answer.done == (1,)
    assert answer.refused[0][:2] == (2, changes.DIGEST_MISMATCH)
    assert (world / "root/site/a").stat().st_mode & 0o7777 == 0o755
    assert sorted(os.listdir(world / "root/site")) == ["a"]


@pytest.mark.parametrize(
    ("pairs", "payload"),
    [
        ([[-1, 9]], b"123456789"),  # more than announced
        ([[0, 4096]], b""),  # from a base that is not there
        ([[-1, 2]], b"x"),  # literals that are not there
        ([[-5, 1]], b""),
        ([[0, -1]], b""),
        ([["0", 1]], b""),
        ([[0, 1, 2]], b""),
        ([[-1, 3]], b"abc"),  # ends short of what was announced
    ],
)
def test_a_delta_that_lies_is_refused_and_the_stream_goes_on(agent, world, pairs, payload):
    agent.open()
    agent.say(BeginFile(put(b"f"), delta=False))
    header = {"t": "data", "n": 1, "ops": pairs, "end": True, "cancel": False}
    agent.process.stdin.write(frames.encode(header, [payload]))
    refused = []
    agent.say(Batch((put(b"after", 2),)), HELLO)
    while True:
        answer = agent.hear()
        refused += [number for number, _, _ in answer.refused]
        if 2 in answer.done:
            break
    assert refused == [1]
    assert os.listdir(world / "root/site") == ["after"]


def test_too_many_files_begun_end_the_connection_and_leave_no_temporary(agent, world):
    agent.open()
    for number in range(40):
        try:
            agent.say(BeginFile(put(b"f%d" % number, number), delta=False))
        except BrokenPipeError:
            break
    assert agent.process.wait(10) == 1
    assert os.listdir(world / "root/site") == []


def test_a_connection_that_ends_in_mid_file_leaves_no_temporary(agent, world):
    agent.open()
    agent.say(BeginFile(put(b"f", size=10), delta=False))
    agent.say(Data(1, [[-1, 5]]), HELLO)
    agent.hear()
    assert agent.end()[0] == 0
    assert os.listdir(world / "root/site") == []


def test_a_listing_stops_at_its_credit(agent, world):
    agent.open()
    for number in range(1200):
        (world / "root/site" / f"{number}").touch()
    agent.say(ListTree(1, 1, b"", digest=False, credit=1))
    first = agent.hear()
    agent.say(Batch((put(b"live", 9),)), HELLO)
    assert not first.end
    assert agent.hear().done == (9,)  # and not the listing's second frame
    agent.process.stdin.write(frames.encode({"t": "more", "job": 1, "credit": 9}))
    assert isinstance(agent.hear(), messages.Listing)


def test_json_of_any_depth_is_no_way_to_crash(agent):
    agent.open()
    deep = json.dumps({"t": "batch"})[:-1].encode() + b', "changes": ' + b"[" * 200_000
    agent.process.stdin.write(struct.pack(">II", len(deep), 0) + deep)
    code, said = agent.end()
    assert code == 1
    assert "Traceback" not in said
