"""The queue of a hook: nothing that was delivered is left out, and its size is bounded."""

from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.core import hook_queue
from replicator.core.hook_queue import DeliveredPaths, LatestStates
from replicator.model import is_within, overlap

NAMES = st.sampled_from([b"a", b"b", b"c", b"d"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)
TREE = b"/srv"


def add(queue, path, target=b"", *, is_delete=False, tree=TREE):
    queue.add(tree, path, target, 1.0, is_delete=is_delete)


def paths_of(run):
    """Return the paths of a run, as sets: changed, deleted, below."""
    return [{path.encode() for path in run[name]} for name in ("changed", "deleted", "below")]


def test_a_run_has_the_last_state_of_each_path_once():
    queue = DeliveredPaths("delivered")
    add(queue, b"f")
    add(queue, b"g", is_delete=True)
    add(queue, b"f", is_delete=True)
    add(queue, b"g")
    assert len(queue) == 2
    run = queue.take()
    assert (run["event"], run["tree"]) == ("delivered", "/srv")
    assert paths_of(run) == [{b"g"}, {b"f"}, set()]
    assert queue.take() is None


def test_a_run_has_both_names_of_a_renamed_directory():
    queue = DeliveredPaths("delivered")
    add(queue, b"old", b"new")
    run = queue.take()
    assert run["renamed"] == [["old", "new"]]
    assert paths_of(run) == [{b"new"}, {b"old"}, set()]


def test_each_run_is_about_one_tree():
    queue = DeliveredPaths("delivered")
    add(queue, b"f")
    add(queue, b"g", tree=b"/other")
    assert [queue.take()["tree"], queue.take()["tree"]] == ["/srv", "/other"]


def test_everything_stands_for_every_path():
    queue = DeliveredPaths("delivered")
    add(queue, b"d/f")
    add(queue, b"")
    add(queue, b"d/g")
    assert paths_of(queue.take()) == [set(), set(), {b""}]


def test_many_paths_become_their_directories():
    queue = DeliveredPaths("delivered")
    for number in range(5 * hook_queue.MOST_PATHS):
        add(queue, b"d%d/e/%d" % (number % 3, number))
        assert len(queue) <= 2 * hook_queue.MOST_PATHS
    changed, deleted, below = paths_of(queue.take())
    assert (changed, deleted, below) == (set(), set(), {b"d0/e", b"d1/e", b"d2/e"})


@settings(max_examples=300)
@given(st.lists(st.tuples(PATHS, st.one_of(st.just(b"a"), PATHS), st.booleans()), max_size=40))
def test_every_path_is_in_a_run_or_below_a_directory_of_it(events):
    before, hook_queue.MOST_PATHS = hook_queue.MOST_PATHS, 4
    try:
        queue, last = DeliveredPaths("delivered"), {}
        for path, other, is_delete in events:
            target = b"" if overlap(path, other) else other
            add(queue, path, target, is_delete=is_delete)
            last[path] = is_delete or (bool(target) and target != path)
            if target:
                last[target] = is_delete
            assert len(queue) <= 2 * 4
        run = queue.take()
        if not events:
            assert run is None
            return
        changed, deleted, below = paths_of(run)
        for path, gone in last.items():
            covered = any(is_within(path, directory) for directory in below)
            assert covered or path in (deleted if gone else changed), path
        assert not [d for d in below if any(d != e and is_within(d, e) for e in below)]
    finally:
        hook_queue.MOST_PATHS = before


def test_only_the_latest_state_of_a_frontend_is_taken():
    queue = LatestStates()
    queue.add("web1", {"reason": "first"})
    queue.add("web2", {"reason": "other"})
    queue.add("web1", {"reason": "last"})
    assert [queue.take(), queue.take(), queue.take()] == [
        {"reason": "other"},
        {"reason": "last"},
        None,
    ]
