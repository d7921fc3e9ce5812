"""Where a frame ends depends on the paths, so that frontends which lack the same files need the same frames."""

from hypothesis import given
from hypothesis import strategies as st

from replicator.engine.changes.batching import EVERY, groups, is_cut
from replicator.engine.changes.encode import BATCH_CHANGES, BATCH_PAYLOAD, encode_batches
from replicator.wire.changes import PutFile

items = st.lists(
    st.tuples(st.binary(min_size=1, max_size=6), st.integers(0, BATCH_PAYLOAD // 2)), max_size=400
)


def cut(pairs):
    return list(groups((path, size, (path, size)) for path, size in pairs))


@given(items)
def test_groups_are_the_items_in_their_order_and_fit_a_frame(pairs):
    found = cut(pairs)
    assert [item for group in found for item in group] == pairs
    for group in found:
        assert group
        assert len(group) <= BATCH_CHANGES
        assert len(group) == 1 or sum(size for _, size in group) <= BATCH_PAYLOAD


@given(items, st.integers(0, 20))
def test_after_the_first_end_of_a_frame_the_groups_do_not_depend_on_the_start(pairs, start):
    late = cut(pairs[start:])
    first = next((n for n, (path, _) in enumerate(pairs[start:]) if is_cut(path)), None)
    if first is not None:
        after = pairs[start + first + 1 :]
        assert late[len(late) - len(cut(after)) :] == cut(after)


def test_a_group_of_files_with_long_names_is_one_batch():
    paths = [("я" * 120 + "/").encode() * 8 + b"%d" % number for number in range(200)]
    for group in cut([(path, 10) for path in paths]):
        changes = [
            PutFile(n, 1, path, 0o644, 10, 0, b"d" * 32) for n, (path, _) in enumerate(group)
        ]
        assert len(list(encode_batches((change, b"x" * 10) for change in changes))) == 1


def test_the_mean_size_of_a_group_is_as_intended():
    cuts = sum(is_cut(b"2026/11/photo-%d.jpg" % number) for number in range(32_000))
    assert 0.8 < cuts * EVERY / 32_000 < 1.25
