"""Nothing is removed that a pointer names, or that a running restore may still ask for."""

import os

import pytest

from replicator.base.layout import MANIFESTS, PACKS, TREES, pointer_name
from replicator.base.prefix import Prefix
from replicator.base.prune import prune
from replicator.base.publication import TreeBase
from replicator.errors import StoreError
from tests.support import published
from tests.support.fakes.store import FakeStore

KEEP = 100.0


class Site:
    """A tree whose base is published and pruned at times of a clock that the test sets."""

    def __init__(self, directory):
        self.directory = directory / "source"
        self.directory.mkdir()
        self.state = directory
        self.tree = published.PublishedTree(self.directory)
        self.store = FakeStore()
        self.now = 1000.0
        self.base = None
        self.store.clock = lambda: self.now
        self.tables = {}
        self.start()

    def start(self, identity="me", *, take_over=False):
        self.prefix = Prefix(self.store, identity, lambda _: None, lambda: self.now)
        self.prefix.open(take_over=take_over)
        if self.base is not None:
            self.base.close()  # its process has ended
        self.base = TreeBase(self.tree, self.prefix, self.state, lambda: None, KEEP)
        self.tables = {}

    def publish(self, **files):
        """Publish a tree with exactly these files; return the manifest."""
        for path in self.directory.iterdir():
            path.unlink()
        published.write(self.directory, files)
        self.tree.scan()
        self.base.publish()
        return self.base.published.manifest

    def prune(self, in_use=()):
        known = {pointer_name(self.tree.root)}
        return prune(self.prefix, self.tables, in_use, KEEP, known=known)

    def count(self, below):
        return len(list(self.store.list(below)))


@pytest.fixture
def site(tmp_path):
    one = Site(tmp_path)
    yield one
    one.base.close()
    one.tree.close()


def content():
    return os.urandom(1000)


def test_what_the_pointer_names_is_kept_for_ever(site):
    manifest = site.publish(a=content())
    site.now += 100 * KEEP
    assert site.prune().objects == 0
    assert published.restored(site.store, manifest)


def test_a_replaced_manifest_and_its_packs_are_kept_for_a_while_and_then_removed(site):
    old = site.publish(a=content())
    site.now += 1000
    new = site.publish(a=content())
    site.now += KEEP - 1
    assert site.prune().objects == 0
    assert published.restored(site.store, old)
    site.now += 2
    assert site.prune().objects == 2
    assert (site.count(PACKS), site.count(MANIFESTS)) == (1, 1)
    assert published.restored(site.store, new)


def test_a_manifest_in_use_is_kept_however_old_it_is(site):
    old = site.publish(a=content())
    site.publish(a=content())
    site.now += 100 * KEEP
    assert site.prune({old}).objects == 0
    assert published.restored(site.store, old)
    assert site.prune().objects == 2


def test_a_pack_that_another_tree_uses_is_kept(site, tmp_path):
    shared = content()
    site.publish(a=shared)
    other = tmp_path / "other"
    other.mkdir()
    published.write(other, {"b": shared})
    tree = published.PublishedTree(other).scan()
    base = TreeBase(tree, site.prefix, site.state, lambda: None, KEEP)
    base.publish()
    site.publish(a=content())
    site.now += 2 * KEEP
    assert site.prune().objects == 1, "the manifest"
    assert published.restored(site.store, base.published.manifest)
    base.close()
    tree.close()


def test_what_a_crash_has_left_is_removed_after_a_while(site):
    site.publish(a=content())

    def fail(step):
        if step[0] == "put" and step[1].startswith("trees/"):
            raise StoreError("cut off")

    site.store.before = fail
    with pytest.raises(StoreError):
        site.publish(a=content())
    site.store.before = lambda _: None
    site.now += KEEP - 1
    site.start()
    assert site.prune().objects == 0
    site.now += 2
    assert site.prune().objects == 2
    assert published.restored(site.store, published.pointers(site.store)[0].manifest)


def test_contents_of_a_removed_pack_are_uploaded_again_when_they_come_back(site):
    first = content()
    site.publish(a=first)
    site.publish(a=content())
    site.now += 2 * KEEP
    assert site.prune().objects == 2
    manifest = site.publish(a=first)
    assert published.restored(site.store, manifest)[b"a"][3] == first


def test_contents_of_a_pack_whose_removal_has_failed_are_uploaded_again(site):
    first = content()
    site.publish(a=first)
    site.publish(a=content())
    site.now += 2 * KEEP
    deleted = site.store.delete

    def fail(names):
        deleted(names)
        raise StoreError("the answer was lost")

    site.store.delete = fail
    with pytest.raises(StoreError):
        site.prune()
    site.store.delete = deleted
    manifest = site.publish(a=first)
    assert published.restored(site.store, manifest)[b"a"][3] == first


@pytest.mark.parametrize("step", ["get", "list"])
def test_nothing_is_removed_if_it_is_not_known_what_is_needed(site, step):
    site.publish(a=content())
    site.publish(a=content())
    site.now += 2 * KEEP
    site.tables.clear()
    objects = dict(site.store.objects)
    for at in range(10):
        left = [at]

        def fail(done, left=left):
            left[0] -= done[0] == step
            if left[0] < 0:
                raise StoreError("unreachable")

        site.store.before = fail
        try:
            site.prune()
        except StoreError:
            if site.store.objects != objects:
                break
            site.tables.clear()
        else:
            break
    site.store.before = lambda _: None
    assert at >= 2
    assert published.restored(site.store, published.pointers(site.store)[0].manifest)


def test_a_damaged_pointer_stops_the_removal(site):
    site.publish(a=content())
    site.now += 100 * KEEP
    site.store.objects[pointer_name(site.tree.root)] = b"{"
    with pytest.raises(StoreError, match="pointer"):
        site.prune()
    assert site.count(PACKS) == 1


@pytest.mark.parametrize("below", [TREES, MANIFESTS])
@pytest.mark.parametrize("what", ["list", "get"])
def test_an_answer_that_lacks_what_exists_stops_the_removal(site, what, below):
    manifest = site.publish(a=content())
    site.now += 100 * KEEP
    site.start()  # a process that knows nothing of what was published
    real_list, real_get = site.store.list, site.store.get
    if what == "list":
        site.store.list = lambda asked: [] if asked == below else real_list(asked)
    else:
        site.store.get = lambda name, most: None if name.startswith(below) else real_get(name, most)
    if (what, below) == ("list", MANIFESTS):
        assert site.prune().objects == 0
    else:
        with pytest.raises(StoreError, match="contradicts"):
            site.prune()
    site.store.list, site.store.get = real_list, real_get
    assert published.restored(site.store, manifest)


def test_a_process_that_has_lost_its_claim_removes_nothing(site):
    site.publish(a=content())
    site.publish(a=content())
    site.now += 2 * KEEP
    Prefix(site.store, "me", lambda _: None).open()
    with pytest.raises(StoreError, match="has begun to publish"):
        site.prune()
    assert site.count(PACKS) == 2


def test_after_taking_over_nothing_is_removed_for_a_while(site):
    site.publish(a=content())
    site.publish(a=content())
    site.now += 2 * KEEP
    site.start("other", take_over=True)
    skipped = site.prune()
    assert skipped.objects == 0
    assert "another backend" in skipped.skipped
    site.now += KEEP
    assert site.prune().objects == 2


def test_objects_with_other_names_are_not_touched(site):
    for name in ("packs/notes.txt", "manifests/x", "other/file", "readme"):
        site.store.put(name, b"mine", lambda _: None)
    site.now += 1e6
    site.prune()
    assert {"packs/notes.txt", "manifests/x", "other/file", "readme"} <= site.store.objects.keys()


def test_the_base_of_a_tree_that_is_not_configured_is_removed_only_on_request(site):
    site.publish(a=content())
    site.now += 2 * KEEP
    assert site.prune().objects == 0
    pruned = prune(site.prefix, {}, (), KEEP, [pointer_name(site.tree.root)])
    assert pruned.objects == 0
    assert prune(site.prefix, {}, (), KEEP, []).objects == 2
    assert set(site.store.objects) == {"owner"}
