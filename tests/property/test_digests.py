"""Comparison by digests of directories finds exactly what a comparison of full listings finds."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.agent import digesting
from replicator.catalog import digests as kept
from replicator.catalog.store import CatalogStore
from replicator.engine.frontend import digests as module
from replicator.engine.frontend import merge
from replicator.engine.frontend.compare import OpenedTree, compare
from replicator.engine.frontend.connection import Connection
from replicator.model import (
    DIRECTORY,
    FILE,
    SYMLINK,
    Entry,
    Stamp,
    Unlisted,
    ancestors,
    is_within,
    key,
)
from replicator.ports import Record
from replicator.wire import messages
from replicator.wire.messages import ListTree, OpenTree
from tests.support.fakes.agent import FakeAgent
from tests.support.fakes.agent_channel import AgentChannel
from tests.support.fakes.catalog import FakeCatalog
from tests.support.fakes.source import FakeSource
from tests.support.source_state import fake_tree

NAMES = [b"a", b"a.x", b"b", b"\xff\xfe", b"cache"]
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(b"/".join)
modes = st.sampled_from([0o644, 0o755, 0o2755])
times = st.sampled_from([1, 2, 10**18])
entries = st.one_of(
    st.builds(lambda m, s, t: Entry(FILE, m, s, t), modes, st.integers(0, 2), times),
    st.builds(lambda m, t: Entry(DIRECTORY, m, 0, t), modes, times),
    st.builds(lambda t, link: Entry(SYMLINK, 0, 0, t, link), times, st.sampled_from([b"a", b"b"])),
)
trees = st.dictionaries(paths, entries, max_size=20)
WITHOUT = tuple(name for name in messages.FEATURES if name != "digests")


def closed(tree):
    """Return a tree as a file system can hold it: what holds something is a directory."""
    made = dict(tree)
    for path in tree:
        for above in ancestors(path):
            if above not in made or made[above].kind != DIRECTORY:
                made[above] = Entry(DIRECTORY, 0o755, 0, 1)
    return made


class Limit:
    """Keeps surplus above a number."""

    def __init__(self, most):
        self.most = most

    def was_dirty(self, path):
        return path.endswith(b"b")

    def why_kept(self, found, left):
        return "too many" if found > self.most else ""


async def compared(channel, tree, pool, opened, below=b"", limit=None):
    """Return what one comparison finds, and the request for a listing (None: there was none)."""
    connection = Connection(channel, lambda *_: None, lambda: None)
    requests = []
    send = connection._send_message

    async def note(message):
        requests.append(message)
        await send(message)

    connection._listings._send = note
    receiving = asyncio.ensure_future(connection.receive())
    found = []

    async def take(differences):
        found.extend(differences)

    try:
        await connection.exchange_hello()
        await connection.open_tree(tree.target)
        outcome = await compare(connection, opened, below, pool, take, limit)
    finally:
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
        await channel.close()
    listed = [request for request in requests if isinstance(request, ListTree)]
    # Surplus that was counted comes at the end, in whatever order.
    return sorted(found, key=lambda one: key(one.path)), outcome, listed


def record(path, entry, *, ambiguous=False, problem=""):
    return Record(path, entry, Stamp(0, 0, 0, 0), ambiguous=ambiguous, problem=problem)


@st.composite
def changes(draw, tree):
    """Change a tree a little: returns the new one."""
    made = dict(tree)
    known = sorted(made)
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["put", "remove", "touch"]))
        if kind == "put" or not known:
            made[draw(paths)] = draw(entries)
        elif kind == "remove":
            gone = draw(st.sampled_from(known))
            made = {path: entry for path, entry in made.items() if not is_within(path, gone)}
        else:
            path = draw(st.sampled_from(known))
            if path in made:
                made[path] = made[path]._replace(mtime_ns=draw(times))
    return made


@settings(deadline=None)
@given(st.data())
def test_digests_find_what_listings_find(data):
    draw = data.draw
    before = draw(trees)
    before = closed(before) if draw(st.booleans()) else before
    frontend = closed(draw(changes(before)))
    after = draw(changes(before))
    after = closed(after) if draw(st.booleans()) else after
    known = sorted(after)
    some = st.lists(st.sampled_from(known), max_size=2) if known else st.just([])
    ambiguous, problems = draw(some), draw(some)
    excluded = draw(st.sets(st.sampled_from(NAMES), max_size=1))
    reserved = draw(st.sampled_from([(), (b"cache",), (b"a/b",)]))
    # An agent that is asked for digests does not list what is reserved, and cannot say that it could not.
    directories = sorted(
        path
        for path, entry in frontend.items()
        if entry.kind == DIRECTORY and not any(is_within(path, one) for one in reserved)
    )
    unlisted = draw(
        st.lists(st.sampled_from(directories), max_size=1) if directories else st.just([])
    )
    target = OpenTree(1, b"/site", setid=draw(st.booleans()))

    catalog = FakeCatalog()
    catalog.apply([record(*item) for item in before.items()], (), {})
    source = FakeSource()
    source.is_excluded = lambda path, _: (
        any(is_within(path, one) for one in reserved) or not excluded.isdisjoint(path.split(b"/"))
    )
    delete = draw(st.booleans())
    tree = fake_tree(source, catalog, target=target, delete=delete, reserved=reserved)
    if draw(st.booleans()):  # the digests were made before the changes
        bits = draw(st.sampled_from([tree.mode_bits, tree.mode_bits, 0o700]))
        number = catalog.digests.begin(bits)
        while not catalog.digests.refresh(number):
            pass
    if before and draw(st.booleans()):
        catalog.move(draw(st.sampled_from(sorted(before))), draw(paths))
    catalog.apply(
        [
            record(path, entry, ambiguous=path in ambiguous, problem="x" * (path in problems))
            for path, entry in after.items()
        ],
        [path for path in catalog.records if path not in after],
        {},
    )
    for path in reserved:  # which the scan of a source never records
        gone = [one for one in catalog.records if is_within(one, path)]
        catalog.apply((), gone, {})
    tree.state = type(tree.state)(tree)
    tree.state.held = set(draw(st.lists(paths, max_size=2)))
    below = draw(st.sampled_from([b"", b"", b"a", b"a/b"]))
    opened = OpenedTree(
        tree, owner=draw(st.sampled_from([(-1, -1), (0, 0)])), followed=draw(st.booleans())
    )
    limit = draw(st.sampled_from([None, Limit(0), Limit(2)]))

    async def run():
        results = []
        with ThreadPoolExecutor(1) as pool:
            for features in (messages.FEATURES, WITHOUT):
                agent = FakeAgent(dict(frontend))
                agent.features = features
                agent.unlisted = [Unlisted(path, "denied") for path in unlisted]
                results.append(await compared(agent, tree, pool, opened, below, limit))
        return results

    small = mock.patch.multiple(module, MOST_OPENED=draw(st.sampled_from([1, 3, 1000])))
    most = mock.patch.object(module, "MOST_ROWS", draw(st.sampled_from([2, 100_000])))
    page = mock.patch.object(merge, "PAGE", draw(st.sampled_from([1, 3, 1000])))
    step = mock.patch.object(kept, "STEP", draw(st.sampled_from([1, 1000])))
    with small, most, page, step:
        (found, outcome, _), (expected, also, _) = asyncio.run(run())
    assert found == expected
    assert outcome == also


def write(root, tree):
    """Write a tree to the disk."""
    for path in sorted(tree, key=key):
        at, entry = os.path.join(os.fsencode(root), path), tree[path]
        if entry.kind == DIRECTORY:
            os.mkdir(at)
        elif entry.kind == SYMLINK:
            os.symlink(entry.link, at)
        else:
            Path(os.fsdecode(at)).write_bytes(b"x" * entry.size)
    for path in sorted(tree, key=key, reverse=True):
        at, entry = os.path.join(os.fsencode(root), path), tree[path]
        if entry.kind != SYMLINK:
            os.chmod(at, entry.mode | 0o700)
        os.utime(at, ns=(entry.mtime_ns, entry.mtime_ns), follow_symlinks=False)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_digests_of_the_real_agent_find_what_its_listings_find(data):
    draw = data.draw
    before = closed(draw(trees))
    after = closed(draw(changes(before)))
    step = draw(st.sampled_from([1, 500]))
    with TemporaryDirectory() as place, ThreadPoolExecutor(1) as pool:
        (Path(place) / "site").mkdir()
        write(f"{place}/site", before)
        os.mkfifo(f"{place}/site/fifo")
        store = CatalogStore.open(Path(place) / "catalog.sqlite")
        catalog = store.tree(b"/srv")
        records = {
            path: record(path, e._replace(mode=e.mode | 0o700 if e.kind != SYMLINK else 0))
            for path, e in after.items()
        }
        catalog.apply(list(records.values()), (), {})
        source = FakeSource()
        source.is_excluded = lambda path, _: path.endswith(b"cache")
        tree = fake_tree(source, catalog)

        async def run():
            found = []
            for features in (messages.FEATURES, WITHOUT):
                with mock.patch.object(messages, "FEATURES", features):
                    channel = await AgentChannel(place).start()
                    found.append(await compared(channel, tree, pool, OpenedTree(tree)))
            return found

        with mock.patch.object(digesting, "STEP", step), mock.patch.object(digesting, "ROWS", step):
            (found, outcome, requests), (expected, also, _) = asyncio.run(run())
        store.close()
    assert found == expected
    assert outcome == also
    if before == after:
        assert not requests
        assert not found


def test_what_is_equal_is_not_listed():
    site = {b"d": Entry(DIRECTORY, 0o755, 0, 1), b"d/e": Entry(DIRECTORY, 0o755, 0, 1)}
    site |= {b"d/e/%d" % n: Entry(FILE, 0o644, 1, n) for n in range(5)}
    site |= {b"x": Entry(DIRECTORY, 0o755, 0, 1), b"x/1": Entry(FILE, 0o644, 1, 1)}
    catalog = FakeCatalog()
    catalog.apply([record(*item) for item in site.items()], (), {})
    tree = fake_tree(FakeSource(), catalog)
    lines = []

    class Noting(FakeAgent):
        def send(self, *sent):
            lines.extend(
                line for one in sent if isinstance(one, messages.Listing) for line in one.lines
            )
            super().send(*sent)

    async def run(disk):
        lines.clear()
        agent = Noting(disk)
        agent.features = messages.FEATURES
        with ThreadPoolExecutor(1) as pool:
            return await compared(agent, tree, pool, OpenedTree(tree))

    assert asyncio.run(run(dict(site)))[2] == []
    changed = site | {b"x/1": Entry(FILE, 0o644, 2, 1)}
    found, _, _ = asyncio.run(run(changed))
    assert [one.path for one in found] == [b"x/1"]
    assert [line.path for line in lines] == [b"d", b"x", b"x/1"]
