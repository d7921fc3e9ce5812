"""A hostile backend against a pinned agent: nothing outside the root is touched, and what is only refused breaks no stream."""

import hashlib
import json
import os
import struct
from functools import partial

import pytest

from replicator.wire import changes, frames, messages
from replicator.wire.changes import Delete, MakeDirectory, MakeSymlink, Move, SetAttributes
from replicator.wire.messages import Batch, BeginFile, Data, ListTree
from tests.support.pinned import DIGEST, HELLO, OPEN, Agent, make_outside, picture, put, strays

SECRET = b"what nobody inside may learn"


@pytest.fixture
def world(tmp_path):
    """A root, and beside it a directory in which nothing may change, nor be learned from."""
    (tmp_path / "root/site/dir").mkdir(parents=True)
    (tmp_path / "root/site").chmod(0o755)
    outside = make_outside(tmp_path / "outside")
    (outside / "canary").write_bytes(SECRET)
    before = picture(outside)
    yield tmp_path
    assert picture(outside) == before
    for path in (tmp_path / "root").rglob("*"):
        assert path.is_symlink() or not path.is_file() or SECRET not in path.read_bytes()
    assert strays(tmp_path) == []


@pytest.fixture
def agent(world):
    """A pinned agent on an empty tree."""
    (world / "root/site/dir").rmdir()
    with Agent(world / "root") as agent:
        yield agent


def raw_batch(*rows):
    return frames.encode({"t": "batch", "changes": list(rows)}, [HELLO])


@pytest.mark.parametrize("target", [b"/", b"//", b"relative", b"/..", b"/site/../.."])
def test_a_root_that_is_none_is_refused(agent, target):
    assert agent.open(target).error
    assert agent.open(b"/site").error == ""


def test_a_file_whose_tree_is_opened_anew_meanwhile_is_refused(agent, world):
    agent.open()
    agent.send(BeginFile(put(b"f"), delta=False))
    agent.open(b"/other")
    agent.send(Data(1, [[-1, len(HELLO)]], True, False), HELLO)
    assert agent.answers(1) == {1: changes.FAILED}
    assert list((world / "root/site").iterdir()) == list((world / "root/other").iterdir()) == []


def test_a_target_path_is_resolved_inside_the_root(agent, world):
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
    code, output = agent.end()
    assert code == 1
    assert "not a path" in output or "nested" in output
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
    code, output = agent.end()
    assert code == 1
    assert len(output.strip().splitlines()) == 1
    assert "Traceback" not in output


def test_a_file_for_a_tree_that_is_not_open_breaks_the_wire(agent):
    agent.open()
    agent.process.stdin.write(raw_batch(["f", 1, 9, "a", 0o644, 5, 0, DIGEST.hex()]))
    assert agent.hear() is None
    assert agent.process.wait(10) == 1


def test_changes_of_a_tree_that_is_not_open_are_refused_and_the_stream_continues(agent):
    agent.open()
    agent.send(Batch((Delete(1, 9, b"a"), MakeDirectory(2, 9, b"d", 0o755, 0))))
    assert set(agent.answers(1, 2).values()) == {"failed"}
    agent.send(Batch((put(b"fine", number=3),)), HELLO)
    assert agent.answers(3) == {3: ""}


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
    agent.send(Batch(tuple(batch)), HELLO, HELLO)
    answer = agent.hear()
    assert 7 in answer.done
    assert {number for number, _, _ in answer.refused} >= {1, 2, 3, 5, 6}
    assert (world / "root/site/fine").read_bytes() == HELLO


def test_setuid_is_stripped_and_a_wrong_digest_leaves_nothing(agent, world):
    agent.open()
    agent.send(
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
def test_an_invalid_delta_is_refused_and_the_stream_continues(agent, world, pairs, payload):
    agent.open()
    agent.send(BeginFile(put(b"f"), delta=False))
    header = {"t": "data", "n": 1, "ops": pairs, "end": True, "cancel": False}
    agent.process.stdin.write(frames.encode(header, [payload]))
    refused = []
    agent.send(Batch((put(b"after", 2),)), HELLO)
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
            agent.send(BeginFile(put(b"f%d" % number, number), delta=False))
        except BrokenPipeError:
            break
    assert agent.process.wait(10) == 1
    assert os.listdir(world / "root/site") == []


def test_a_connection_that_ends_in_mid_file_leaves_no_temporary(agent, world):
    agent.open()
    agent.send(BeginFile(put(b"f", size=10), delta=False))
    agent.send(Data(1, [[-1, 5]]), HELLO)
    agent.hear()
    assert agent.end()[0] == 0
    assert os.listdir(world / "root/site") == []


def test_a_listing_stops_at_its_credit(agent, world):
    agent.open()
    for number in range(1200):
        (world / "root/site" / f"{number}").touch()
    agent.send(ListTree(1, 1, b"", digest=False, credit=1))
    first = agent.hear()
    agent.send(Batch((put(b"live", 9),)), HELLO)
    assert not first.end
    assert agent.hear().done == (9,)  # and not the listing's second frame
    agent.process.stdin.write(frames.encode({"t": "more", "job": 1, "credit": 9}))
    assert isinstance(agent.hear(), messages.Listing)


def test_json_of_any_depth_is_no_way_to_crash(agent):
    agent.open()
    deep = json.dumps({"t": "batch"})[:-1].encode() + b', "changes": ' + b"[" * 200_000
    agent.process.stdin.write(struct.pack(">II", len(deep), 0) + deep)
    code, output = agent.end()
    assert code == 1
    assert "Traceback" not in output


def batch(*row, payload=b""):
    return [frames.encode({"t": "batch", "changes": [list(row)]}, [payload])]


def streamed(path, *, delta):
    """Return the frames of a file that is sent in several; as a delta it copies all of what is there."""
    row = ["f", 1, 1, path, 0o644, 5, 0, DIGEST.hex()]
    pairs, payload = ([[0, 5]], b"") if delta else ([[-1, 5]], HELLO)
    data = {"t": "data", "n": 1, "ops": pairs, "end": True, "cancel": False}
    return [
        frames.encode({"t": "file", "put": row, "delta": delta}),
        frames.encode(data, [payload]),
    ]


def listed(path):
    return [
        frames.encode(
            {"t": "list", "job": 1, "tree": 1, "below": path, "digest": True, "credit": 9}
        )
    ]


OPERATIONS = {
    "file": lambda path: batch("f", 1, 1, path, 0o644, 5, 0, DIGEST.hex(), payload=HELLO),
    "streamed": partial(streamed, delta=False),
    "delta": partial(streamed, delta=True),
    "directory": lambda path: batch("d", 1, 1, path, 0o777, 0),
    "symlink": lambda path: batch("l", 1, 1, path, 0, "/etc/passwd"),
    "attributes": lambda path: batch("a", 1, 1, path, 0o777, len(SECRET), 0, 10**18, ""),
    "attributes by digest": lambda path: batch(
        *("a", 1, 1, path, 0o777, len(SECRET), 0, 0, hashlib.sha256(SECRET).hexdigest())
    ),
    "delete": lambda path: batch("x", 1, 1, path),
    "move from": lambda path: batch("m", 1, 1, path, "stolen"),
    "move to": lambda path: batch("m", 1, 1, "dir", path),
    "list": listed,
}
PATHS = ["..", "../outside/canary", "a/../../outside/canary", "/etc/passwd", ".", "a//b", "a\0b"]
ODD = ["", "./a", "a/", "x" * 256, "a/" * 5000 + "a", "x/" * 3000, "\ud800", 7, None, ["a"]]
"""Refused by the same check; each costs an agent, so that only some operations try them."""


def good_changes_work(world):
    """A new connection does what is asked of it."""
    with Agent(world / "root", prelude=OPEN) as agent:
        assert agent.open().error == ""
        agent.send(Batch((put(b"fine", 9),)), HELLO)
        assert agent.answers(9) == {9: ""}
        assert agent.end() == (0, "")
    assert (world / "root/site/fine").read_bytes() == HELLO


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_operation_takes_a_path_that_is_none(world, operation):
    (world / "root/canary").write_text("beside the tree")
    before = picture(world / "root")
    for path in [*PATHS, *(ODD if operation in ("streamed", "move to") else [])]:
        with Agent(world / "root", prelude=OPEN) as agent:
            agent.open()
            for frame in OPERATIONS[operation](path):
                if not agent.pour(frame):
                    break
            code, output = agent.end()
        assert code == 1, path
        assert output.startswith("replicator agent: ")
        assert len(output.splitlines()) == 1, output
        assert picture(world / "root") == before, path
    good_changes_work(world)


WAYS = {
    "link/canary": "a symlinked parent",
    "link/new": "a new name below it",
    "link/dir/inner": "deeper below it",
    "dir/relative/canary": "one that climbs",
    "leaf": "a symlinked file",
    "link": "a symlinked directory",
    "dangling": "a symlink to what is not there yet",
    "proc/cwd/canary": "a magic link",
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_operation_follows_a_symlink_out_of_the_root(world, operation):
    site, outside = world / "root/site", world / "outside"
    links = {
        "link": outside,
        "dir/relative": "../../../outside",
        "leaf": outside / "canary",
        "dangling": outside / "made",
        "proc": "/proc/self",
    }
    with Agent(world / "root", prelude=OPEN) as agent:
        assert agent.open().error == ""
        for path in WAYS:
            (site / "dir").mkdir(exist_ok=True)
            for name, target in links.items():
                if not (site / name).is_symlink():
                    (site / name).symlink_to(target)
            for frame in OPERATIONS[operation](path):
                agent.pour(frame)
            if operation == "list":
                listing = agent.hear()
                assert (listing.lines, listing.end) == ((), True), path
                assert [unlisted.path for unlisted in listing.unlisted] == [path.encode()]
            else:
                reason = agent.answers(1)[1]
                # What is at the very end of the way is inside: a symlink may be replaced, moved or deleted itself.
                assert reason or path in ("leaf", "link", "dangling") or operation == "delete"
            for name in ("stolen", "leaf", "link", "dangling"):
                made = site / name
                if made.is_dir() and not made.is_symlink():
                    made.rmdir()
                elif os.path.lexists(made):
                    made.unlink()
        agent.send(Batch((put(b"after", 9),)), HELLO)
        assert agent.answers(9)[9] == ""
        assert agent.end() == (0, "")
    good_changes_work(world)


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6777])
def test_no_setid_bit_arrives_by_any_operation(agent, world, mode):
    """The sticky bit does: it takes rights away, and a directory for everybody without it is worse than with it."""
    agent.open()
    site = world / "root/site"
    (site / "there").write_bytes(HELLO)
    os.utime(site / "there", ns=(5, 5))
    changes_ = (
        put(b"file", 1)._replace(mode=mode),
        MakeDirectory(2, 1, b"dir", mode, 0),
        SetAttributes(3, 1, b"there", mode, 5, 0, 5, b""),
    )
    agent.send(Batch(changes_), HELLO)
    agent.send(BeginFile(put(b"streamed", 4)._replace(mode=mode | 0o1000), delta=False))
    agent.send(Data(4, [[-1, 5]], end=True), HELLO)
    assert set(agent.answers(1, 2, 3, 4).values()) == {""}
    modes = {path.name: path.stat().st_mode & 0o7777 for path in site.iterdir()}
    plain = mode & 0o777
    assert modes == {"file": plain, "dir": plain, "there": plain, "streamed": plain | 0o1000}


@pytest.mark.parametrize("kind", [0o010000, 0o020000, 0o060000, 0o140000, 0o100000, -1])
def test_a_mode_that_names_a_special_file_ends_the_connection(agent, world, kind):
    agent.open()
    for frame in batch("f", 1, 1, "a", kind | 0o644, 5, 0, DIGEST.hex(), payload=HELLO):
        agent.pour(frame)
    assert agent.end()[0] == 1
    assert os.listdir(world / "root/site") == []


@pytest.mark.parametrize(
    "owner", ["nobody-of-that-name", "²", "root:²", "a\0b", "\ud800", "4294967295", "9" * 900, "-1"]
)
def test_an_owner_that_is_none_is_an_error_and_never_root(agent, owner):
    request = {"t": "open", "tree": 1, "root": "/site", "owner": owner, "setid": False}
    agent.process.stdin.write(frames.encode(request))
    answer = agent.hear()
    assert answer.error
    assert (answer.uid, answer.gid) == (-1, -1)
    assert agent.open().error == ""


def test_unknown_keys_are_ignored(agent):
    agent.open()
    header = Batch((put(b"a"),)).header() | {"future": {"a": [1]}, "root": "/"}
    agent.process.stdin.write(frames.encode(header, [HELLO]))
    assert agent.answers(1) == {1: ""}


def test_a_tree_opened_anew_ends_the_listing_of_the_old_one(agent, world):
    """The descriptor of the old root may by then be another directory."""
    agent.open()
    for number in range(600):
        (world / "root/site" / f"{number}").touch()
    agent.send(ListTree(1, 1, b"", digest=True, credit=1))
    assert not agent.hear().end
    assert agent.open(b"/other").error == ""
    agent.process.stdin.write(frames.encode({"t": "more", "job": 1, "credit": 9}))
    agent.send(Batch((put(b"after", 9),)), HELLO)
    assert agent.hear().done == (9,)


def test_a_root_that_an_agent_creates_is_readable_by_the_web_server(agent, world):
    assert agent.open(b"/srv/made").error == ""
    for path in ("root/srv", "root/srv/made"):
        assert (world / path).stat().st_mode & 0o777 == 0o755
