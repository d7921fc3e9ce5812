"""Contract of an agent as the backend sees it: the real agent in a process and in a thread, and FakeAgent, pass the same tests.

Each test speaks the wire protocol over a channel: it opens a tree, sends changes, and reads answers and listings.
"""

import asyncio
from itertools import count

import pytest

from replicator.model import DIRECTORY, FILE, ROOT, SYMLINK, Entry
from replicator.ports import Address
from replicator.wire import frames, messages
from replicator.wire.changes import (
    BASE_MISMATCH,
    DIGEST_MISMATCH,
    NOT_EMPTY,
    PATH_REFUSED,
    VANISHED,
    Delete,
    Link,
    MakeDirectory,
    MakeSymlink,
    Move,
    PutFile,
    SetAttributes,
)
from tests.support.child_agent import LocalConnector
from tests.support.fakes.agent import FakeAgent
from tests.support.fakes.agent_channel import AgentChannel
from tests.support.fakes.content import digest
from tests.support.waiting import FOREVER

TREE = 1
TIME = 1_600_000_000_000_000_000
ENOUGH = FOREVER
"""Seconds until a missing answer is an error."""


async def in_process(directory):
    return await LocalConnector(pin_root=str(directory)).connect(Address("here"))


async def in_thread(directory):
    return await AgentChannel(directory).start()


async def in_memory(_directory):
    return FakeAgent({})


class Backend:
    """The backend's end of a channel to an agent."""

    def __init__(self, channel):
        self.channel = channel
        self.sent = self.taken = 0
        self._decoder = frames.Decoder()
        self._received = []
        self._numbers = count(1)

    async def open(self):
        await self.send(messages.Hello(messages.VERSION, messages.FEATURES, "a test"))
        hello = await self.receive(messages.Hello)
        await self.send(messages.OpenTree(TREE, b"/site"))
        opened = await self.receive(messages.Opened)
        assert opened.error == ""
        return hello, opened

    async def send(self, message, payload=b""):
        data = frames.encode(message.header(), [payload])
        self.sent += len(data)
        await self.channel.write(data)

    async def receive(self, kind):
        """Return the next message, which must be of a kind."""
        async with asyncio.timeout(ENOUGH):
            while not self._received:
                data = await self.channel.read()
                assert data, f"the agent has ended: {self.channel.diagnosis()}"
                self._decoder.receive(data)
                self._received += [messages.decode(f.header) for f in self._decoder.frames()]
        message = self._received.pop(0)
        assert isinstance(message, kind)
        return message

    def put(self, path, content=b"content", mode=0o644):
        return PutFile(self.number(), TREE, path, mode, len(content), TIME, digest(content))

    def make(self, kind, path, *fields):
        return kind(self.number(), TREE, path, *fields)

    def number(self):
        return next(self._numbers)

    async def apply(self, *changes, content=b""):
        """Send a batch; return the answers in order: "done", or the reason for a refusal."""
        await self.send(messages.Batch(changes), content)
        return await self.answers(*changes)

    async def answers(self, *changes):
        found = {}
        while not found.keys() >= {change.number for change in changes}:
            acks = await self.receive(messages.Acks)
            found |= dict.fromkeys(acks.done, "done")
            found |= {number: reason for number, reason, _ in acks.refused}
            self.taken = acks.taken
        return [found[change.number] for change in changes]

    async def fill(self, **files):
        """Make directories (None) and files (their content)."""
        for name, content in files.items():
            path = name.encode().replace(b"_", b"/")
            if content is None:
                change = self.make(MakeDirectory, path, 0o755, TIME)
            else:
                change = self.put(path, content)
            assert await self.apply(change, content=content or b"") == ["done"]

    async def list(self, below=ROOT, *, digest=True, after=b""):
        """Return the lines of a listing as entries by path, and what could not be listed."""
        await self.send(messages.ListTree(7, TREE, below, digest, 1000, after))
        lines, unlisted = [], []
        while True:
            listing = await self.receive(messages.Listing)
            assert listing.job == 7
            lines += listing.lines
            unlisted += listing.unlisted
            if listing.end:
                return {line.path: line.entry for line in lines}, unlisted


@pytest.fixture(params=[in_process, in_thread, in_memory], ids=lambda make: make.__name__)
async def channel(request, tmp_path):
    made = await request.param(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def backend(channel):
    made = Backend(channel)
    await made.open()
    return made


def file(content=b"content", mode=0o644, time=TIME):
    return Entry(FILE, mode, len(content), time, b"", digest(content))


async def test_it_introduces_itself_and_opens_a_tree(channel):
    hello, opened = await Backend(channel).open()
    assert hello.version == messages.VERSION
    assert set(hello.features) <= set(messages.FEATURES)
    assert (opened.tree, opened.uid, opened.gid, opened.granularity) == (TREE, -1, -1, 1)


async def test_every_kind_of_change_is_applied_and_listed(backend):
    changes = [
        backend.make(MakeDirectory, b"d", 0o750, TIME + 1),
        backend.put(b"d/f"),
        backend.make(MakeSymlink, b"d/l", TIME + 2, b"../elsewhere"),
        backend.put(b"empty", b"", 0o600),
        backend.make(Link, b"copy", 0o644, 7, TIME, b"d/f", True),
        backend.make(Link, b"name", 0o644, 7, TIME, b"d/f", False),
        backend.make(SetAttributes, b"empty", 0o640, 0, TIME + 3, TIME, b""),
    ]
    assert await backend.apply(*changes, content=b"content") == ["done"] * len(changes)
    found, unlisted = await backend.list()
    assert list(found.items()) == [
        (b"copy", file()),
        (b"d", Entry(DIRECTORY, 0o750, 0, TIME + 1)),
        (b"d/f", file()),
        (b"d/l", Entry(SYMLINK, 0, 0, TIME + 2, b"../elsewhere")),
        (b"empty", file(b"", 0o640, TIME + 3)),
        (b"name", file()),
    ]
    assert unlisted == []
    assert await backend.apply(backend.make(Move, b"d", b"e"), backend.make(Delete, b"name")) == ["done", "done"]  # fmt: skip
    assert list((await backend.list())[0]) == [b"copy", b"e", b"e/f", b"e/l", b"empty"]


async def test_a_listing_is_of_what_is_below_and_after_a_path_with_digests_if_wanted(backend):
    await backend.fill(d=None, d_a=b"1", d_b=b"2", e=b"3")
    assert list((await backend.list(b"d"))[0]) == [b"d/a", b"d/b"]
    assert list((await backend.list(after=b"d/a"))[0]) == [b"d/b", b"e"]
    assert (await backend.list(b"d", digest=False))[0][b"d/a"] == file(b"1")._replace(digest=b"")
    assert await backend.list(b"gone") == ({}, [])
    assert [one.path for one in (await backend.list(b"e"))[1]] == [b"e"]


async def test_files_take_the_place_of_files_and_of_empty_directories_only(backend):
    await backend.fill(empty=None, full=None, full_f=b"old", file=b"old")
    new = [backend.put(path, b"new") for path in (b"empty", b"full", b"file")]
    assert await backend.apply(*new, content=b"new" * 3) == ["done", NOT_EMPTY, "done"]
    assert await backend.apply(backend.make(MakeSymlink, b"full", TIME, b"x")) == [NOT_EMPTY]
    found, _ = await backend.list()
    assert found[b"empty"] == found[b"file"] == file(b"new")
    assert found[b"full"].kind == DIRECTORY


async def test_a_directory_takes_the_place_of_a_file_and_keeps_its_content(backend):
    await backend.fill(d=None, d_f=b"content", file=b"content")
    made = [backend.make(MakeDirectory, path, 0o700, TIME + 5) for path in (b"d", b"file")]
    assert await backend.apply(*made) == ["done", "done"]
    found, _ = await backend.list()
    directory = Entry(DIRECTORY, 0o700, 0, TIME + 5)
    assert found == {b"d": directory, b"d/f": file(), b"file": directory}


async def test_a_missing_parent_is_not_made_and_a_file_is_no_parent(backend):
    await backend.fill(file=b"content")
    for parent, reason in ((b"none", VANISHED), (b"file", PATH_REFUSED)):
        path = parent + b"/new"
        assert await backend.apply(backend.put(path), content=b"content") == [reason]
        for change in (
            backend.make(MakeDirectory, path, 0o755, TIME),
            backend.make(MakeSymlink, path, TIME, b"x"),
            backend.make(Move, b"file", path),
        ):
            assert await backend.apply(change) == [reason]
    assert list((await backend.list())[0]) == [b"file"]


async def test_content_that_is_not_what_was_announced_is_refused(backend):
    await backend.fill(file=b"content")
    wrong = backend.put(b"file", b"announced")._replace(digest=digest(b"other"))
    assert await backend.apply(wrong, content=b"announced") == [DIGEST_MISMATCH]
    assert (await backend.list())[0] == {b"file": file()}


async def test_attributes_are_set_only_on_the_version_that_they_are_for(backend):
    await backend.fill(file=b"content", d=None)
    wrong = [
        backend.make(SetAttributes, b"file", 0o600, 8, TIME + 1, TIME, b""),
        backend.make(SetAttributes, b"file", 0o600, 7, TIME + 1, TIME + 1, b""),
        backend.make(SetAttributes, b"file", 0o600, 7, TIME + 1, 0, digest(b"other")),
        backend.make(SetAttributes, b"none", 0o600, 7, TIME + 1, TIME, b""),
        backend.make(SetAttributes, b"d", 0o600, 0, TIME + 1, TIME, b""),
    ]
    assert await backend.apply(*wrong) == [BASE_MISMATCH] * 4 + [PATH_REFUSED]
    right = backend.make(SetAttributes, b"file", 0o600, 7, TIME + 9, 0, digest(b"content"))
    assert await backend.apply(right) == ["done"]
    assert (await backend.list())[0][b"file"] == file(mode=0o600, time=TIME + 9)


async def test_only_what_is_empty_is_deleted_and_what_is_absent_is_no_error(backend):
    await backend.fill(d=None, d_f=b"content")
    first = [backend.make(Delete, path) for path in (b"d", b"none", b"none/below", b"d/f/below")]
    assert await backend.apply(*first) == [NOT_EMPTY, "done", "done", "done"]
    assert list((await backend.list())[0]) == [b"d", b"d/f"]
    assert await backend.apply(*[backend.make(Delete, path) for path in (b"d/f", b"d")]) == ["done"] * 2  # fmt: skip
    assert (await backend.list())[0] == {}


async def test_a_move_replaces_files_and_empty_directories_only(backend):
    await backend.fill(d=None, d_f=b"1", full=None, full_f=b"2", empty=None, file=b"3", other=b"4")
    refused = [
        backend.make(Move, b"none", b"new"),
        backend.make(Move, b"d", b"full"),
        backend.make(Move, b"d", b"file"),
        backend.make(Move, b"file", b"full"),
    ]
    assert await backend.apply(*refused) == [VANISHED, NOT_EMPTY, PATH_REFUSED, PATH_REFUSED]
    done = [backend.make(Move, b"d", b"empty"), backend.make(Move, b"file", b"other")]
    assert await backend.apply(*done) == ["done", "done"]
    found, _ = await backend.list()
    assert list(found) == [b"empty", b"empty/f", b"full", b"full/f", b"other"]
    assert found[b"other"] == file(b"3")


@pytest.mark.parametrize("copy", [True, False])
async def test_a_link_is_made_only_of_the_file_that_was_announced(backend, copy):
    await backend.fill(file=b"content", d=None)
    links = [
        backend.make(Link, b"new", 0o644, 7, TIME + 1, b"file", copy),
        backend.make(Link, b"new", 0o644, 8, TIME, b"file", copy),
        backend.make(Link, b"new", 0o600, 7, TIME, b"file", copy),
        backend.make(Link, b"new", 0o644, 7, TIME, b"none", copy),
        backend.make(Link, b"new", 0o755, 0, TIME, b"d", copy),
        backend.make(Link, b"none/new", 0o644, 7, TIME, b"file", copy),
    ]
    of_directory = PATH_REFUSED if copy else BASE_MISMATCH
    assert await backend.apply(*links) == [BASE_MISMATCH] * 4 + [of_directory, VANISHED]
    assert list((await backend.list())[0]) == [b"d", b"file"]


async def test_a_file_in_several_frames_is_published_once_it_is_complete(backend):
    pieces = [b"first", b"second"]
    put = backend.put(b"file", b"".join(pieces))
    await backend.send(messages.BeginFile(put, delta=False))
    for piece in pieces:
        await backend.send(messages.Data(put.number, [[-1, len(piece)]]), piece)
    await backend.send(messages.Data(put.number, [], end=True))
    assert await backend.answers(put) == ["done"]
    assert (await backend.list())[0] == {b"file": file(b"firstsecond")}
    assert backend.taken <= backend.sent


@pytest.mark.parametrize("last", [{"end": True}, {"cancel": True}])
async def test_a_file_that_stays_incomplete_is_refused(backend, last):
    await backend.fill(file=b"content")
    put = backend.put(b"file", b"announced")
    await backend.send(messages.BeginFile(put, delta=False))
    await backend.send(messages.Data(put.number, [[-1, 4]]), b"anno")
    await backend.send(messages.Data(put.number, [], **last))
    assert await backend.answers(put) == [DIGEST_MISMATCH]
    assert (await backend.list())[0] == {b"file": file()}


async def test_a_delta_needs_a_base_and_frames_of_a_refused_file_are_dropped(backend):
    await backend.fill(file=b"content")
    put, lost = backend.put(b"file", b"content and more"), backend.put(b"none", b"content")
    await backend.send(messages.BeginFile(lost, delta=True))
    assert await backend.answers(lost) == [BASE_MISMATCH]
    await backend.send(messages.Data(lost.number, [[0, 7]], end=True))
    await backend.send(messages.BeginFile(put, delta=True))
    await backend.send(messages.Data(put.number, [[0, 7], [-1, 9]], end=True), b" and more")
    assert await backend.answers(put) == ["done"]
    assert (await backend.list())[0] == {b"file": file(b"content and more")}


async def test_setid_bits_are_dropped_unless_they_are_asked_for(backend):
    assert await backend.apply(backend.put(b"file", b"", 0o4755)) == ["done"]
    assert (await backend.list())[0][b"file"].mode == 0o755
    await backend.send(messages.OpenTree(TREE, b"/site", setid=True))
    await backend.receive(messages.Opened)
    assert await backend.apply(backend.put(b"file", b"", 0o4755)) == ["done"]
    assert (await backend.list())[0][b"file"].mode == 0o4755


async def test_each_answer_states_the_bytes_processed(backend):
    await backend.fill(file=b"content")
    assert backend.taken == backend.sent
