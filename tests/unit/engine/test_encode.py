"""Encoded changes: the content of their frames, the limits, and which frontends they can be sent to."""

from replicator.core.pending import Key
from replicator.delta.ops import Copy, Literal, decode
from replicator.engine.changes import create, encode
from replicator.engine.ingest.encode_result import encode as encode_result
from replicator.engine.ingest.scan_result import ScanResult, Update
from replicator.model import DIRECTORY, FILE, SYMLINK, Entry, Stamp
from replicator.ports import Record
from replicator.wire import frames, messages
from replicator.wire.changes import Delete, Link, MakeDirectory, MakeSymlink, PutFile, SetAttributes
from tests.support.fakes.content import digest

STAMP = Stamp(0, 0, 0, 0)


def file(content=b"content", mode=0o644, time=7):
    return Entry(FILE, mode, len(content), time, b"", digest(content))


def decoded(encoded):
    decoder = frames.Decoder()
    for one in encoded:
        decoder.receive(one)
    return [(messages.decode(f.header), f.payload) for f in decoder.frames()]


def put(path, content):
    return create.put_change(create.next_number(), 1, path, file(content)), content


def test_change_numbers_are_unique():
    assert len({create.next_number() for _ in range(100)}) == 100


def test_each_kind_of_entry_has_its_change():
    assert isinstance(create.change_for(1, b"f", file()), PutFile)
    assert isinstance(create.change_for(1, b"d", Entry(DIRECTORY, 0o755, 0, 7)), MakeDirectory)
    link = create.change_for(1, b"l", Entry(SYMLINK, 0, 0, 7, b"to"))
    assert isinstance(link, MakeSymlink)
    assert link.link == b"to"


def test_attributes_carry_a_digest_only_if_the_content_may_differ():
    assert create.attributes_change(1, b"f", file(), content=True).digest == file().digest
    known = create.attributes_change(1, b"f", file(), content=False)
    assert (known.digest, known.old_mtime_ns) == (b"", 7)


def test_a_batch_contains_the_contents_in_the_order_of_its_changes():
    (batch,) = encode.encode_batches([put(b"a", b"one"), put(b"b", b"three")])
    ((message, payload),) = decoded(batch.frames)

    assert [c.path for c in message.changes] == [b"a", b"b"]
    assert payload == b"onethree"
    assert [p.key for p in batch.parts] == [Key(1, b"a"), Key(1, b"b")]
    assert batch.size == len(batch.frames[0])
    assert not batch.builds_on


def test_a_batch_ends_before_it_is_too_large():
    content = bytes(encode.BATCH_PAYLOAD // 2)
    batches = list(encode.encode_batches(put(b"%d" % n, content) for n in range(5)))
    assert [len(b.parts) for b in batches] == [2, 2, 1]

    many = list(encode.encode_batches(put(b"%d" % n, b"") for n in range(encode.BATCH_CHANGES + 1)))
    assert [len(b.parts) for b in many] == [encode.BATCH_CHANGES, 1]


def test_a_batch_ends_before_the_agent_must_copy_or_hash_too_much():
    half = Entry(FILE, 0o644, encode.BATCH_WORK // 2, 7, b"", digest(b""))
    huge = half._replace(size=100 * encode.BATCH_WORK)
    copies = [create.link_change(1, b"%d" % n, half, b"origin", copy=True) for n in range(5)]
    assert [len(b.parts) for b in encode.encode_links(copies)] == [2, 2, 1]
    assert all(b.work <= encode.BATCH_WORK for b in encode.encode_links(copies))

    sizes = (half, huge, huge, half, half)
    hashed = [(create.attributes_change(1, b"f", entry, content=True), b"") for entry in sizes]
    assert [len(b.parts) for b in encode.encode_batches(hashed)] == [1, 1, 1, 2]

    renamed = [create.link_change(1, b"%d" % n, huge, b"origin", copy=False) for n in range(50)]
    attributes = [
        (create.attributes_change(1, b"%d" % n, huge, content=False), b"") for n in range(50)
    ]
    assert (
        len(list(encode.encode_links(renamed))) == len(list(encode.encode_batches(attributes))) == 1
    )


def test_long_names_make_more_batches_within_the_limits_of_the_wire():
    """A customer may make such names: eight directories of 120 letters, each of which JSON writes in six bytes."""
    long = ("я" * 120 + "/").encode() * 8
    changes = [create.delete_change(1, long + b"%d" % n) for n in range(100)]
    changes += [create.move_change(1, long + b"%d" % n, long + b"x%d" % n) for n in range(100)]
    found = list(encode.encode_batches((change, b"") for change in changes))
    assert [part.number for batch in found for part in batch.parts] == [c.number for c in changes]
    assert len(found) > 2


def test_a_large_file_is_split_into_frames_within_the_limits_of_the_wire():
    content = bytes(range(256)) * (5 * encode.CHUNK // 512)
    change, _ = put(b"big", content)
    made = encode.encode_file(change, [Literal(content)], delta=False)
    begin, *data = decoded(made.frames)

    assert begin[0].put == change
    assert b"".join(payload for _, payload in data) == content
    assert all(len(payload) <= encode.CHUNK for _, payload in data)
    assert [message.end for message, _ in data] == [False] * (len(data) - 1) + [True]
    assert made.saved == 0


def test_a_delta_builds_on_the_previous_version_and_counts_the_bytes_it_saves():
    content = bytes(1 << 20)
    change, _ = put(b"big", content)
    made = encode.encode_file(change, [Copy(0, 1 << 20)], delta=True)

    assert made.builds_on
    assert made.saved > 1_000_000


def test_many_instructions_are_split_into_frames_within_the_limits_of_the_wire():
    ops = [op for n in range(5000) for op in (Copy(n, 1), Literal(b"x"))]
    change, _ = put(b"big", b"")
    made = encode.encode_file(change, ops, delta=True)
    back = [op for m, payload in decoded(made.frames)[1:] for op in decode(m.pairs, payload)]

    assert back == ops


def test_a_cancelled_file_ends_with_a_frame_that_cancels_it():
    ((message, _),) = decoded([encode.data_frame(5, [], cancel=True)])
    assert (message.number, message.cancel, message.end) == (5, True, False)


def test_the_reference_to_a_change_shows_whether_it_moves_or_deletes():
    move = encode.encode_update(create.move_change(1, b"a", b"b"))
    assert move.parts[0].target == b"b"
    assert move.builds_on
    assert encode.ref_to(create.delete_change(1, b"a")).is_delete


# engine.ingest.encode_result


def update(path, entry, before=None, **more):
    earlier = Record(path, before, STAMP) if before is not None else None
    return Update(Record(path, entry, STAMP), earlier, **more)


def changes_of(encoded_list):
    return [
        change
        for p in encoded_list
        for message, _ in decoded(p.frames)
        if isinstance(message, messages.Batch)
        for change in message.changes
    ]


def test_changes_are_encoded_in_a_safe_order():
    found = ScanResult(
        updates=[
            update(b"d", file(b"was a directory"), ops=[Literal(b"was a directory")]),
            update(b"e/f", file(b"in e"), ops=[Literal(b"in e")]),
            update(b"e", Entry(DIRECTORY, 0o755, 0, 7)),
        ],
        gone=[b"d/below", b"z"],
    )
    encoded = [(type(c), c.path) for c in changes_of(encode_result(1, found))]

    assert encoded == [
        (Delete, b"d/below"),
        (PutFile, b"d"),
        (MakeDirectory, b"e"),
        (PutFile, b"e/f"),
        (Delete, b"z"),
    ]


def test_a_changed_mode_is_sent_as_attributes_that_build_on_the_old_time():
    found = ScanResult(updates=[update(b"f", file(mode=0o600, time=9), before=file(time=7))])
    (encoded,) = encode_result(1, found)
    (change,) = changes_of([encoded])

    assert isinstance(change, SetAttributes)
    assert (change.mode, change.mtime_ns, change.old_mtime_ns) == (0o600, 9, 7)
    assert encoded.builds_on


def test_content_that_is_not_kept_is_encoded_without_frames():
    unread = Update(Record(b"f", file()._replace(digest=b""), STAMP, problem="denied"), None)
    huge = update(b"g", file(), ops=None)
    for encoded in encode_result(1, ScanResult(updates=[unread, huge])):
        assert encoded.frames == ()
        assert encoded.parts[0].number == 0


def test_a_large_whole_file_is_encoded_by_itself_and_builds_on_nothing():
    content = bytes(encode.INLINE_LIMIT + 1)
    (encoded,) = encode_result(
        1, ScanResult(updates=[update(b"f", file(content), ops=[Literal(content)])])
    )

    assert isinstance(decoded(encoded.frames)[0][0], messages.BeginFile)
    assert not encoded.builds_on


def test_a_link_is_sent_after_its_directory_and_before_its_origin_changes():
    entry = Entry(FILE, 0o644, 7, 1, digest=bytes(32))
    stamp = Stamp(7, 1, 1, 1)
    link = Update(Record(b"old/f", entry, stamp), None, same_content_as=b"live/f")
    made = Update(Record(b"old", Entry(DIRECTORY, 0o755, 0, 1), stamp), None)
    change = Update(Record(b"live/f", entry, stamp), None, [Literal(b"content")])
    late = Update(Record(b"new", entry, stamp), None, same_content_as=b"live/f", fresh=True)
    encoded_list = list(encode_result(1, ScanResult(updates=[change, late, link, made])))

    encoded = [(type(c), c.path) for c in changes_of(encoded_list)]
    assert encoded == [
        (MakeDirectory, b"old"), (Link, b"old/f"), (PutFile, b"live/f"), (Link, b"new")
    ]  # fmt: skip
    assert [p.builds_on for p in encoded_list] == [False, True, False, True]
    assert encoded_list[1].parts[0].base == Key(1, b"live/f")
