"""However much a hostile backend sends, and whatever it announces: an agent takes little memory, and leaves nothing behind."""

import hashlib
import json
import os
import struct

import pytest

from replicator.agent.transfers import MOST as MAX_TRANSFERS
from replicator.wire import changes, frames
from replicator.wire.changes import Delete
from replicator.wire.messages import Acks, Batch, BeginFile, Data, Listing, ListTree, Opened
from tests.support.pinned import DIGEST, HELLO, MOST_MEMORY, Agent, put, strays

MIB = 1 << 20
HUGE = 2**32 - 1


@pytest.fixture
def agent(tmp_path):
    """A pinned agent with an open tree; afterwards it took little memory, and left no temporary."""
    (tmp_path / "root").mkdir()
    with Agent(tmp_path / "root") as agent:
        assert agent.open().error == ""
        yield agent
        if agent.process.poll() is None:
            assert agent.memory() < MOST_MEMORY
            agent.end()
    assert strays(tmp_path) == []


def works(agent, number=1000):
    """The same connection still does what it is asked."""
    agent.send(Batch((put(b"after", number),)), HELLO)
    assert agent.answers(number)[number] == ""


def ended(agent):
    """The agent has ended itself, with one line that contains the reason."""
    code, output = agent.end()
    assert len(output.splitlines()) == 1, output
    return code == 1 and output.startswith("replicator agent: ")


@pytest.mark.parametrize(
    "lengths",
    [(0, 0), (HUGE, 0), (0, HUGE), (HUGE, HUGE), (MIB + 1, 0), (2, MIB + 1), (2**31, 2**31)],
)
def test_lengths_that_lie_end_the_connection_before_anything_is_held(agent, lengths):
    agent.pour(struct.pack(">II", *lengths) + b"x" * 200)
    assert ended(agent)


@pytest.mark.parametrize("cut", [1, 4, 7, 8, 20, -6, -1])
def test_a_frame_that_is_cut_short_is_never_applied(agent, tmp_path, cut):
    whole = frames.encode(Batch((put(b"a"),)).header(), [HELLO])
    agent.pour(whole[:cut])
    assert agent.end() == (0, "")
    assert os.listdir(tmp_path / "root/site") == []


def test_a_frame_may_come_byte_by_byte(agent):
    for byte in frames.encode(Batch((put(b"a"),)).header(), [HELLO]):
        agent.pour(bytes([byte]))
    assert agent.answers(1) == {1: ""}


@pytest.mark.parametrize(
    "pairs",
    [
        [[0, 6]],
        [[5, 1]],
        [[1, 5]],
        [[-2, 1]],
        [[0, 0]],
        [[0, -5]],
        [[2**63 - 1, 1]],
        [[2**63, 2**63]],
        [[2**64 - 1, 6]],
        [[0, 2**64]],
        [[1e308, 5]],
        [[True, 5]],
        [[0, 5], [0, 1]],  # more than announced
        [[0, 4]],  # less
        [[0, 1]] * 100_000,
        {"0": 5},
        [[[[0]]]],
    ],
    ids=lambda pairs: str(pairs)[:30],
)
def test_a_copy_that_is_out_of_range_fails_its_file_and_nothing_else(agent, tmp_path, pairs):
    base = tmp_path / "root/site/base"
    base.write_bytes(HELLO)
    agent.send(BeginFile(put(b"base"), delta=True))
    header = {"t": "data", "n": 1, "ops": pairs, "end": True, "cancel": False}
    agent.pour(frames.encode(header))
    answer = agent.answers(1)
    if isinstance(pairs, list):
        assert answer == {1: changes.BASE_MISMATCH}
        works(agent)
    else:
        assert answer is None
    assert base.read_bytes() == HELLO


def test_a_stream_past_the_announced_size_is_dropped_however_long(agent, tmp_path):
    """220 MiB for a file of 5 bytes: the first frame fails it, the rest is read and forgotten."""
    agent.send(BeginFile(put(b"endless"), delta=False))
    junk = frames.encode(Data(1, [[-1, MIB]]).header(), [b"\0" * MIB])
    for _ in range(220):
        assert agent.pour(junk)
        assert isinstance(agent.hear(), Acks)
        assert strays(tmp_path) == []
    agent.send(Data(1, [], end=True))
    works(agent)
    assert os.listdir(tmp_path / "root/site") == ["after"]


def test_a_stream_within_the_announced_size_takes_no_memory_and_vanishes_when_it_is_wrong(agent):
    size = 64 * MIB
    agent.send(BeginFile(put(b"large", size=size), delta=False))
    for number in range(64):
        agent.send(Data(1, [[-1, MIB]], end=number == 63), b"\0" * MIB)
        last = agent.hear()
    assert last.refused[0][:2] == (1, changes.DIGEST_MISMATCH)
    works(agent)


def test_data_for_an_unknown_file_end_the_connection_at_once(agent):
    junk = frames.encode(Data(7, [[-1, MIB]]).header(), [b"\0" * MIB])
    assert not all(agent.pour(junk) for _ in range(50))
    assert ended(agent)


@pytest.mark.parametrize("size", [2**62, 2**63, 2**64, -1, 1e9, True])
def test_a_size_that_no_file_has_ends_the_connection(agent, size):
    row = ["f", 1, 1, "a", 0o644, size, 0, DIGEST.hex()]
    agent.pour(frames.encode({"t": "file", "put": row, "delta": False}))
    assert ended(agent)


def test_a_huge_announced_size_takes_no_room(agent, tmp_path):
    agent.send(BeginFile(put(b"huge", size=1 << 50), delta=False))
    works(agent)
    assert sum(os.stat(path).st_blocks for path in strays(tmp_path)) == 0


@pytest.mark.parametrize("tag", ["x", "m"])
def test_as_many_changes_as_fit_a_frame_are_all_answered(agent, tag):
    """50,000 deletions of what is not there; 40,000 moves, each of which is refused with a reason."""
    count = {"x": 50_000, "m": 40_000}[tag]
    rows = [[tag, number, 1, "a", *(["b"] if tag == "m" else [])] for number in range(count)]
    agent.pour(frames.encode({"t": "batch", "changes": rows}))
    answers = agent.answers(*range(count))
    assert set(answers.values()) == {"" if tag == "x" else changes.VANISHED}
    works(agent, 10**6)


@pytest.mark.parametrize(
    "text",
    [
        '{"t":"batch","changes":[' + "[0]," * 250_000 + "[0]]}",
        '{"t":"batch","changes":[' + "{}," * 330_000 + "{}]}",
        '{"t":"data","n":' + "9" * 1_000_000 + "}",
        '{"t":"batch","changes":' + "[" * 500_000 + "]" * 500_000 + "}",
        '{"t":"' + "\\u0000" * 150_000 + '"}',
        '{"t":"data","n":NaN,"ops":[],"end":true,"cancel":false}',
        "[" * 1_000_000,
        '"' + "x" * 1_000_000 + '"',
    ],
    ids=lambda text: text[:30],
)
def test_json_that_swells_or_nests_ends_the_connection_in_little_memory(agent, text):
    agent.pour(struct.pack(">II", len(text), 0) + text.encode())
    assert agent.hear() is None
    assert ended(agent)


def test_json_that_swells_as_far_as_it_can_takes_little_memory(agent):
    """Unknown keys may hold anything; the frame is good, so that the agent lives to be measured."""
    for filler in ("[0],", "{},", '"ab",', "1.5,"):
        junk = filler * ((MIB - 200) // len(filler))
        text = f'{{"t":"batch","changes":[["x",1,1,"a"]],"junk":[{junk}0]}}'
        assert json.loads(text)
        agent.pour(struct.pack(">II", len(text), 0) + text.encode())
        assert agent.answers(1) == {1: ""}
        assert 0 < agent.memory() < MOST_MEMORY


def test_three_thousand_trees_are_answered_and_a_thousand_held(agent, tmp_path):
    """Each open checks all trees that are held: ten thousand take two minutes on a busy machine, and prove no more."""
    for number in range(3000):
        # In step with the answers: neither side may block on a full pipe.
        answer = agent.open(b"/many/%d" % (number % 50), tree=number % 1024)
        assert isinstance(answer, Opened)
        assert answer.error == ""
    assert len(os.listdir(f"/proc/{agent.process.pid}/fd")) < 1100
    works(agent)


def test_a_tree_number_past_the_last_ends_the_connection(agent):
    agent.pour(frames.encode({"t": "open", "tree": 1024, "root": "/a", "owner": "", "setid": False}))  # fmt: skip
    assert ended(agent)


def test_files_begun_and_never_ended_are_few_and_leave_nothing(agent, tmp_path):
    for number in range(MAX_TRANSFERS):
        agent.send(BeginFile(put(b"f%d" % number, number, size=10), delta=False))
        agent.send(Data(number, [[-1, 5]]), HELLO)
        agent.hear()
    assert len(strays(tmp_path)) == MAX_TRANSFERS
    agent.send(BeginFile(put(b"straw", 99), delta=False))
    assert ended(agent)
    assert strays(tmp_path) == []


def test_only_the_last_of_many_listings_is_worked_on(agent, tmp_path):
    for number in range(50):
        (tmp_path / "root/site" / f"{number}").write_bytes(b"x" * 100_000)
    request = b"".join(
        frames.encode(ListTree(job, 1, b"", digest=True, credit=10**6).header())
        for job in range(2000)
    )
    agent.pour(request)
    listings = [agent.hear()]
    while not (listings[-1].job == 1999 and listings[-1].end):
        listings.append(agent.hear())
    assert all(isinstance(listing, Listing) for listing in listings)
    assert len(os.listdir(f"/proc/{agent.process.pid}/fd")) < 20
    digest = hashlib.sha256(b"x" * 100_000).digest()
    assert {line.entry.digest for line in listings[-1].lines} == {digest}
    works(agent)


def test_a_listing_of_long_names_that_json_makes_longer_fits_its_frames(agent, tmp_path):
    """500 lines of such names would be a frame beyond its limit, and the comparison would never end."""
    directory = tmp_path / "root/site"
    for _ in range(3):
        directory /= "я" * 100
    directory.mkdir(parents=True)
    for number in range(600):
        (directory / f"{'я' * 100}{number}").touch()
    agent.send(ListTree(1, 1, b"", digest=False, credit=100))
    listings = [agent.hear()]
    while not listings[-1].end:
        listings.append(agent.hear())
    assert sum(len(listing.lines) for listing in listings) == 603
    assert len(listings) > 2


def test_many_refusals_with_long_reasons_fit_their_frames(agent, tmp_path):
    name = "я" * 120
    (tmp_path / "root/site" / name / name).mkdir(parents=True)
    os.mkfifo(tmp_path / "root/site" / name / name / "f")
    path = f"{name}/{name}/f"
    rows = [["a", number, 1, path, 0o644, 5, 0, 0, ""] for number in range(600)]
    agent.pour(frames.encode({"t": "batch", "changes": rows}))
    assert set(agent.answers(*range(600)).values()) == {changes.PATH_REFUSED}
    works(agent)


def test_a_thousand_frames_without_a_pause_are_all_answered(agent):
    agent.pour(
        b"".join(
            frames.encode(Batch((Delete(number, 1, b"a"),)).header()) for number in range(1000)
        )
    )
    assert set(agent.answers(*range(1000)).values()) == {""}
