"""A manifest says after decoding what was encoded, however it is cut; and whatever the bytes, the decoder raises only ProtocolError."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.errors import ProtocolError
from replicator.model import DIRECTORY, FILE, SYMLINK, Entry, key
from replicator.wire.blocks import MAX_BLOCK
from replicator.wire.manifest import (
    EMPTY_DIGEST,
    MAGIC,
    ROWS,
    Named,
    Pack,
    Placed,
    Totals,
    decode,
    encode,
    expressible,
)

names = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)
modes = st.integers(0, 0o7777)
times = st.integers(-(1 << 63), (1 << 63) - 1)
digests = st.binary(min_size=32, max_size=32)
links = st.binary(min_size=1, max_size=30).filter(lambda link: b"\0" not in link)
named = st.one_of(
    st.builds(lambda m, t: Entry(DIRECTORY, m, 0, t), modes, times),
    st.builds(lambda t, link: Entry(SYMLINK, 0, 0, t, link), times, links),
    st.builds(lambda m, t: Entry(FILE, m, 0, t, b"", EMPTY_DIGEST), modes, times),
)
files = st.builds(
    lambda m, t, size, digest: Entry(FILE, m, size, t, b"", digest),
    modes, times, st.integers(1, 1 << 40), digests,
)  # fmt: skip


@st.composite
def manifests(draw):
    """A table of packs, rows without content, and files of which some share their place in a pack."""
    entries = draw(st.dictionaries(paths, st.one_of(named, files), max_size=30))
    rows = sorted(entries.items(), key=lambda item: key(item[0]))
    without = [Named(path, entry) for path, entry in rows if not entry.size]
    placed, ends = [], [0]
    for path, entry in rows:
        if entry.size:
            if draw(st.booleans()):
                ends.append(0)
            placed.append(Placed(path, entry, len(ends) - 1, ends[-1]))
            if draw(st.booleans()):
                placed.append(
                    Placed(path + b"-copy" * 20, entry, len(ends) - 1, ends[-1])
                )  # longer than any other
            ends[-1] += entry.size
    placed.sort(key=lambda row: (row.pack, row.offset, key(row.path)))
    return [Pack(draw(digests), end) for end in ends], without, placed


def read(data, step=1 << 30):
    packs, without, placed, totals = [], [], [], None
    for block in decode(data[at : at + step] for at in range(0, len(data), step)):
        if isinstance(block, Totals):
            totals = block
        elif isinstance(block[0], Pack):
            packs += block
        elif isinstance(block[0], Named):
            without += block
        else:
            assert len({row.pack for row in block}) == 1, "a block holds files of one pack"
            placed += block
    return packs, without, placed, totals


@given(manifests(), st.integers(1, 200))
def test_decoding_returns_what_was_encoded_however_the_bytes_are_cut(manifest, step):
    packs, without, placed = manifest
    data = b"".join(encode(packs, without, placed))
    expected = Totals(len(without) + len(placed), sum(row.entry.size for row in placed))
    assert read(data, step) == (packs, without, placed, expected)


@given(manifests())
def test_equal_states_have_equal_bytes(manifest):
    assert b"".join(encode(*manifest)) == b"".join(encode(*manifest))


@given(manifests(), st.data())
def test_a_manifest_that_is_cut_off_is_refused(manifest, data):
    whole = b"".join(encode(*manifest))
    with pytest.raises(ProtocolError):
        read(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(manifests(), st.binary(min_size=1, max_size=20))
def test_bytes_after_the_end_are_refused(manifest, more):
    with pytest.raises(ProtocolError):
        read(b"".join(encode(*manifest)) + more)


@given(manifests(), st.data())
def test_damage_to_the_inflated_bytes_raises_only_protocol_errors(manifest, data):
    plain = bytearray(zlib.decompress(b"".join(encode(*manifest))[len(MAGIC) :]))
    for _ in range(data.draw(st.integers(1, 4))):
        plain[data.draw(st.integers(0, len(plain) - 1))] = data.draw(st.integers(0, 255))
    try:
        packs, _, placed, _ = read(MAGIC + zlib.compress(bytes(plain), 1), 97)
    except ProtocolError:
        return
    for row in placed:
        assert row.offset + row.entry.size <= packs[row.pack].size


@given(st.binary(max_size=300))
def test_any_bytes_raise_only_protocol_errors(junk):
    for data in (junk, MAGIC + junk, MAGIC + zlib.compress(junk)):
        with pytest.raises(ProtocolError):
            read(data)


def plain(kind, body):
    return kind + len(body).to_bytes(4, "little") + body


@pytest.mark.parametrize(
    "path", [b"../x", b"/x", b"a/../x", b"a//x", b".", b"", b"x" * 256, b"x\0"]
)
def test_a_path_that_leads_out_of_the_tree_is_refused(path):
    rows = [Named(path, Entry(DIRECTORY, 0o755, 0, 0))]
    with pytest.raises(ProtocolError):
        read(b"".join(encode([], rows, [])))
    entry = Entry(FILE, 0o644, 1, 0, b"", bytes(32))
    with pytest.raises(ProtocolError):
        read(b"".join(encode([Pack(bytes(32), 1)], [], [Placed(path, entry, 0, 0)])))


def test_a_file_beyond_the_end_of_its_pack_is_refused():
    entry = Entry(FILE, 0o644, 10, 0, b"", bytes(32))
    for offset, pack in ((1, 0), (0, 1), (1 << 63, 0)):
        with pytest.raises(ProtocolError):
            read(b"".join(encode([Pack(bytes(32), 10)], [], [Placed(b"a", entry, pack, offset)])))


def test_rows_that_are_out_of_order_or_twice_there_are_refused():
    entry = Entry(DIRECTORY, 0o755, 0, 0)
    for order in ((b"b", b"a"), (b"a", b"a"), (b"a.x", b"a/b")):
        with pytest.raises(ProtocolError):
            read(b"".join(encode([], [Named(path, entry) for path in order], [])))


def test_a_manifest_of_zeros_without_end_is_refused_before_it_takes_memory():
    bomb = MAGIC + zlib.compress(plain(b"N", b"")[:1] + b"\xff\xff\xff\xff" + bytes(1 << 24))
    with pytest.raises(ProtocolError, match="too large"):
        read(bomb)
    claims = (ROWS * 1000).to_bytes(4, "little") * 3
    with pytest.raises(ProtocolError):
        read(MAGIC + zlib.compress(plain(b"N", claims)))
    with pytest.raises(ProtocolError):
        read(MAGIC + zlib.compress(plain(b"F", claims)))


def test_blocks_hold_a_bounded_number_of_rows_and_bytes():
    entry = Entry(SYMLINK, 0, 0, 0, b"t" * 4096)
    rows = [Named(b"%07d" % i + b"/n" * 100, entry) for i in range(2 * ROWS)]
    data = b"".join(encode([], rows, []))
    sizes = [len(block) for block in decode([data]) if not isinstance(block, Totals)]
    assert sum(sizes) == 2 * ROWS
    assert max(sizes) * 4096 < MAX_BLOCK


def test_an_entry_whose_time_does_not_fit_or_whose_content_is_unknown_cannot_be_expressed():
    assert expressible(Entry(FILE, 0o644, 3, 1, b"", bytes(32)))
    assert not expressible(Entry(FILE, 0o644, 3, 1))
    assert not expressible(Entry(DIRECTORY, 0o755, 0, 1 << 63))
