"""Messages survive the wire, and nothing but a well-formed message is decoded."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.errors import ProtocolError
from replicator.model import Unlisted
from replicator.wire import changes, hello, listings, messages, opening
from tests.support import strategies as own

put_files = st.builds(
    changes.PutFile, own.numbers, own.trees, own.paths, own.modes, own.sizes, own.times, own.digests
)
words = st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), max_size=9)
"""What a person will read: anything else is escaped when it arrives."""

numbers = st.integers(0, 2**64)
identities = st.tuples(numbers, numbers)

some_paths = st.lists(own.paths | st.just(b""), max_size=3).map(tuple)
any_message = st.one_of(
    st.builds(
        messages.Hello,
        own.numbers,
        st.lists(words, max_size=3).map(tuple),
        words,
    ),
    st.builds(messages.OpenTree, own.trees, own.links, st.text(max_size=20), st.booleans()),
    st.builds(
        messages.Sources,
        st.builds(
            messages.Origin,
            st.text(max_size=20),
            st.lists(identities, max_size=3).map(tuple),
            st.lists(identities, max_size=3).map(tuple),
            st.lists(st.tuples(numbers, numbers, own.paths), max_size=2).map(tuple),
        ),
    ),
    st.builds(
        messages.Opened,
        own.trees,
        st.integers(-1, 2**32 - 1),
        st.integers(-1, 9),
        words,
        st.text(max_size=20),
        words,
        st.sampled_from(opening.GRANULARITIES),
    ),
    st.builds(messages.Batch, st.lists(own.any_change, max_size=4).map(tuple)),
    st.builds(messages.BeginFile, put_files, st.booleans(), st.text(max_size=20)),
    st.builds(
        messages.SumBlocks,
        own.numbers,
        own.trees,
        own.paths,
        own.sizes,
        own.sizes,
        st.integers(4096, 4 << 20),
        st.integers(1, 2**32 - 1),
        own.numbers,
        st.integers(1, 8192),
    ),
    st.builds(messages.BlockSums, own.numbers, st.just(-1) | own.sizes, st.text(max_size=20)),
    st.builds(messages.Data, own.numbers, st.just([[-1, 5]]), st.booleans(), st.booleans()),
    st.builds(
        messages.ListTree,
        own.numbers,
        own.trees,
        own.paths | st.just(b""),
        st.booleans(),
        own.numbers,
        own.paths | st.just(b""),
        own.numbers,
        own.numbers | st.just(0),
    ),
    st.builds(
        messages.DigestTree,
        own.numbers,
        own.trees,
        own.paths | st.just(b""),
        own.modes,
        own.numbers,
        st.lists(own.paths, max_size=3).map(tuple),
    ),
    st.builds(messages.Descend, own.numbers, some_paths, some_paths),
    st.builds(
        messages.Digests,
        own.numbers,
        st.lists(st.tuples(own.paths | st.just(b""), own.digests | st.just(b"")), max_size=3).map(
            tuple
        ),
        own.numbers,
        st.booleans(),
    ),
    st.builds(messages.More, own.numbers, own.numbers),
    st.builds(
        messages.Listing,
        own.numbers,
        st.lists(own.listed, max_size=3).map(tuple),
        st.lists(st.builds(Unlisted, own.paths, words), max_size=2).map(tuple),
        st.booleans(),
    ),
    st.builds(
        messages.Acks,
        st.lists(own.numbers, max_size=3).map(tuple),
        st.lists(
            st.tuples(own.numbers, st.sampled_from(sorted(changes.REASONS)), words),
            max_size=2,
        ).map(tuple),
        own.numbers,
    ),
    st.builds(
        messages.Restore, own.trees, own.digests, own.sizes, st.text(max_size=20), own.numbers
    ),
    st.builds(messages.EndRestore, own.trees),
    st.builds(
        messages.NeedUrls, own.trees, st.lists(st.integers(-1, 1 << 20), max_size=3).map(tuple)
    ),
    st.builds(
        messages.Urls,
        own.trees,
        st.lists(st.tuples(st.integers(-1, 1 << 20), st.text(max_size=9)), max_size=3).map(tuple),
    ),
    st.builds(messages.Restored, own.trees, *[own.numbers] * 4, words, st.booleans()),
)


def over_the_wire(header):
    return json.loads(json.dumps(header))


@given(any_message)
def test_a_message_survives_the_wire(message):
    assert messages.decode(over_the_wire(message.header())) == message


def test_words_for_a_person_are_one_printable_line():
    evil = "\x1b]0;owned\x07\n\u202e\ud800"
    greeting = messages.decode(messages.Hello(1, (evil,), evil).header())
    opened = messages.decode(messages.Opened(1, -1, -1, evil).header())
    acks = messages.decode(messages.Acks((), ((1, "denied", evil),), 0).header())
    listing = messages.decode(messages.Listing(1, (), (Unlisted(b"a", evil),), True).header())
    texts = [
        greeting.about,
        *greeting.features,
        opened.error,
        acks.refused[0][2],
        *listing.unlisted[0][1:],
    ]
    assert len(texts) == 5
    assert all(text.isprintable() and "owned" in text for text in texts)


@pytest.mark.parametrize(
    "message",
    [
        messages.Hello(1, ("x",) * (hello.MAX_FEATURES + 1)),
        messages.Hello(1, ("x" * 65,)),
        messages.Listing(1, (), (Unlisted(b"a", ""),) * (listings.MAX_LINES + 1), False),
        messages.Acks((), ((1, "denied", "x" * 1001),), 0),
    ],
    ids=["features", "feature", "unlisted", "detail"],
)
def test_a_message_that_is_longer_than_any_sense_is_refused(message):
    with pytest.raises(ProtocolError):
        messages.decode(message.header())


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(any_message, st.data())
def test_a_damaged_message_raises_nothing_but_protocol_error(message, data):
    header = over_the_wire(message.header())
    field = data.draw(st.sampled_from(sorted(header)))
    if data.draw(st.booleans()):
        del header[field]
    elif isinstance(header[field], list) and header[field] and data.draw(st.booleans()):
        header[field][data.draw(st.integers(0, len(header[field]) - 1))] = data.draw(junk)
    else:
        header[field] = data.draw(junk)
    with contextlib.suppress(ProtocolError):
        messages.decode(header)


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a\0b", "a/" * 300 + "b", "x" * 256],
)
def test_a_path_that_leaves_the_root_is_refused(path):
    with pytest.raises(ProtocolError):
        changes.parse_change(["x", 1, 1, path])


@pytest.mark.parametrize(
    "row",
    [
        *(None, [], [1], ["?", 1]),
        *(["x", True, 1, "a"], ["x", 1, 1, "\ud800"], ["x", 1, -1, "a"]),
        *(
            ["f", 1, 1, "a", 0o644, 5, 0, digest]
            for digest in ("", " " * 64, "00 " * 21 + "0", "é" * 64)
        ),
    ],
)
def test_a_malformed_change_is_refused(row):
    with pytest.raises(ProtocolError):
        changes.parse_change(row)


def test_an_unknown_reason_for_a_refusal_is_a_plain_failure():
    header = {"t": "acks", "done": [], "refused": [[1, "because", "detail"]], "taken": 0}

    assert messages.decode(header).refused == ((1, changes.FAILED, "detail"),)


@pytest.mark.parametrize(
    "wrong", [{2: -1}, {2: 1 << 12}, {3: -1}, {3: 1 << 63}, {4: "x"}, {7: -5}, {1: "z"}]
)
def test_an_invalid_line_of_a_listing_is_an_error_with_its_path(wrong):
    line = ["dir/file\n", "f", 0o644, 5, 0, "", "", 0, 0]
    for field, value in wrong.items():
        line[field] = value
    header = {"t": "listing", "job": 1, "lines": [line], "unlisted": [], "end": True}
    with pytest.raises(ProtocolError, match=r"dir/file\\n: "):
        messages.decode(header)


def test_a_file_of_any_size_is_listed():
    line = ["f", "f", 0o644, (1 << 63) - 1, 0, "", "", 0, 0]
    header = {"t": "listing", "job": 1, "lines": [line], "unlisted": [], "end": True}
    assert messages.decode(header).lines[0].entry.size == (1 << 63) - 1
