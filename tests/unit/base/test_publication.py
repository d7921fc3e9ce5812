"""A pointer names only what is complete; what the store has already is not uploaded again."""

import os

import pytest

from replicator.base.layout import MAX_JSON, PACKS, Pointer, Retired, pointer_name
from replicator.base.packer import PACK
from replicator.base.prefix import Prefix
from replicator.base.publication import MOST_SMALL, TreeBase
from replicator.errors import StoreError
from replicator.ports import Record
from tests.support import published
from tests.support.fakes.store import FakeStore

KEEP = 100.0


def free(_):
    """A pace without a limit."""


class Site:
    """A tree and the store in which its base is."""

    def __init__(self, directory):
        self.directory = directory / "source"
        self.directory.mkdir()
        self.state = directory / "state"
        self.state.mkdir()
        self.tree = published.PublishedTree(self.directory)
        self.store = FakeStore()
        self.now = 1000.0
        self.base = None
        self.start()

    def start(self):
        """Begin as a new process does."""
        self.prefix = Prefix(self.store, "me", free, lambda: self.now)
        self.prefix.open()
        if self.base is not None:
            self.base.close()  # its process has ended
        self.base = TreeBase(self.tree, self.prefix, self.state, lambda: None, KEEP)

    def write(self, **files):
        published.write(self.directory, files)

    def publish(self):
        """Publish; return what was put and whether the base has changed."""
        self.tree.scan()
        del self.store.log[:]
        changed = self.base.publish()
        assert self.restored() == published.held(self.tree)
        return [name for what, name in self.store.log if what == "put"], changed

    def restored(self):
        (pointer,) = published.pointers(self.store)
        assert pointer.manifest == self.base.published.manifest
        return published.restored(self.store, pointer.manifest)


@pytest.fixture
def site(tmp_path):
    one = Site(tmp_path)
    yield one
    one.base.close()
    one.tree.close()


def packs(names):
    return [name for name in names if name.startswith(PACKS)]


def test_a_tree_with_every_kind_of_entry_can_be_restored_as_it_is(site):
    site.write(a=b"one", b=b"", **{"dir/c": b"three" * 1000})
    (site.directory / "empty").mkdir(mode=0o750)
    (site.directory / "link").symlink_to("dir/c")
    os.utime(site.directory / "a", ns=(5, 1234567890123456789))
    (site.directory / "a").chmod(0o640)
    put, changed = site.publish()
    assert changed
    assert len(packs(put)) == 1


def test_the_pointer_is_written_last(site):
    site.write(a=b"one")
    put, _ = site.publish()
    assert [name.partition("/")[0] for name in put] == ["packs", "manifests", "trees"]


def test_without_changes_nothing_is_written(site):
    site.write(a=b"one")
    site.publish()
    assert site.publish() == ([], False)


def test_after_a_restart_without_changes_nothing_is_written(site):
    site.write(a=b"one", b=b"two")
    site.publish()
    site.start()
    assert site.publish() == ([], False)
    site.write(c=b"three")
    assert len(packs(site.publish()[0])) == 1


def test_only_new_contents_are_uploaded(site):
    site.write(a=os.urandom(100_000), b=b"b")
    site.publish()
    sent = site.store.bytes_sent
    site.write(c=b"new")
    (site.directory / "a").rename(site.directory / "z")
    put, _ = site.publish()
    assert len(packs(put)) == 1
    assert site.store.bytes_sent - sent < 2000


def test_equal_contents_are_stored_once(site):
    content = os.urandom(50_000)
    site.write(**{f"f{i}": content for i in range(20)})
    site.publish()
    assert site.base.published.stored == len(content)
    site.write(later=content)
    assert packs(site.publish()[0]) == []


def test_a_pack_has_at_most_its_size_and_a_larger_file_is_a_pack_of_its_own(site):
    big = os.urandom(PACK + 1)
    site.write(big=big, **{f"f{i}": os.urandom(3 << 20) for i in range(7)})
    site.publish()
    sizes = [one.size for one in site.store.list(PACKS)]
    assert sorted(sizes) == [6 << 20, 15 << 20, PACK + 1]


def test_a_file_that_is_not_the_recorded_version_is_left_out(site):
    site.write(a=b"one", b=b"two")
    big = site.directory / "big"
    big.write_bytes(bytes(PACK + 1))
    site.tree.scan()
    site.write(a=b"changed since")
    with big.open("r+b") as file:
        file.write(b"x")
    site.base.publish()
    assert site.restored().keys() == {b"b"}
    assert site.base.left_out == 2


def test_a_file_whose_stamp_cannot_be_relied_on_is_left_out(site):
    site.write(a=b"one", b=b"two", c=b"three")
    site.tree.scan()
    records = site.tree.catalog.records
    records[b"a"] = records[b"a"]._replace(stable=False)
    records[b"b"] = Record(b"b", records[b"b"].entry, records[b"b"].stamp, problem="is being read")
    site.base.publish()
    assert site.restored().keys() == {b"c"}


def test_a_failure_at_any_request_leaves_a_base_that_can_be_restored(site):
    site.write(**{f"f{i}": os.urandom(3 << 20) for i in range(7)})
    site.publish()
    before = site.restored()
    site.write(**{f"f{i}": os.urandom(3 << 20) for i in range(7)})
    site.tree.scan()
    after = published.held(site.tree)
    for at in range(100):
        left = [at]

        def fail(_, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise StoreError("cut off")

        site.start()
        site.store.before = fail
        try:
            site.base.publish()
        except StoreError:
            site.store.before = lambda _: None
            (pointer,) = published.pointers(site.store)
            assert published.restored(site.store, pointer.manifest) == before
        else:
            site.store.before = lambda _: None
            break
    assert at >= 5, "pointer, manifest and packs were read or written one by one"
    assert site.restored() == after


def test_packs_that_were_uploaded_before_a_crash_are_not_uploaded_again(site):
    site.write(**{f"f{i}": os.urandom(3 << 20) for i in range(7)})
    site.tree.scan()

    def fail(step):
        if step[1].startswith("manifests/"):
            raise StoreError("cut off")

    site.store.before = fail
    with pytest.raises(StoreError):
        site.base.publish()
    site.store.before = lambda _: None
    site.start()
    assert packs(site.publish()[0]) == []


def test_a_pack_that_was_cut_off_is_uploaded_again(site):
    site.write(a=os.urandom(1000))
    site.publish()
    (name,) = [one.name for one in site.store.list(PACKS)]
    site.store.objects[name] = site.store.objects[name][:500]
    site.start()
    put, _ = site.publish()
    assert packs(put) == [name]


@pytest.mark.parametrize("damage", ["pointer", "manifest", "no manifest"])
def test_a_damaged_base_is_made_anew(site, damage):
    site.write(a=os.urandom(1000))
    site.publish()
    manifest = next(name for name in site.store.objects if name.startswith("manifests/"))
    if damage == "pointer":
        site.store.objects[pointer_name(site.tree.root)] = b""
    elif damage == "manifest":
        site.store.objects[manifest] = b"x"
    else:
        del site.store.objects[manifest]
    site.start()
    assert site.publish()[1]


def test_a_store_that_fails_while_the_base_is_read_is_no_reason_to_upload_everything(site):
    site.write(a=os.urandom(1000))
    site.publish()
    site.start()
    site.store.failure = "unreachable"
    with pytest.raises(StoreError, match="unreachable"):
        site.base.publish()
    site.store.failure = ""
    assert site.publish() == ([], False)


def test_packs_of_which_much_is_dead_are_written_again(site):
    site.write(**{f"f{i}": os.urandom(100_000) for i in range(10)})
    site.publish()
    for i in range(5):
        site.write(**{f"f{i}": os.urandom(100_000)})
    site.publish()
    assert site.base.published.dead == 500_000
    assert site.base.wants_rewrite
    site.publish()
    assert site.base.published.dead == 0
    assert not site.base.wants_rewrite
    assert site.publish() == ([], False)


def test_many_small_packs_are_joined(site):
    for i in range(MOST_SMALL):
        site.write(**{f"f{i}": os.urandom(1000)})
        site.publish()
    assert len(site.base.published.packs) == 32 * MOST_SMALL
    site.publish()
    assert len(site.base.published.packs) == 32
    assert site.publish() == ([], False)


def test_a_replaced_manifest_is_retired_for_a_while(site):
    manifests = []
    for i in range(3):
        site.write(a=str(i).encode())
        site.publish()
        manifests.append(site.base.published.manifest)
        site.now += 60
    pointer = Pointer.decode(site.store.objects[pointer_name(site.tree.root)])
    assert [(one.manifest, one.at) for one in pointer.retired] == [
        (manifests[0], 1060.0),
        (manifests[1], 1120.0),
    ]
    site.start()
    site.now = 1170.0
    site.write(a=b"last")
    site.publish()
    pointer = Pointer.decode(site.store.objects[pointer_name(site.tree.root)])
    assert [one.manifest for one in pointer.retired] == [manifests[1], manifests[2]]


def test_two_trees_with_equal_contents_keep_pointers_of_their_own(site, tmp_path):
    site.write(a=b"shared")
    site.publish()
    other = tmp_path / "other"
    other.mkdir()
    published.write(other, {"b": b"shared"})
    tree = published.PublishedTree(other).scan()
    base = TreeBase(tree, site.prefix, site.state, lambda: None, KEEP)
    base.publish()
    base.close()
    tree.close()
    found = {
        p.source: published.restored(site.store, p.manifest) for p in published.pointers(site.store)
    }
    assert [list(rows) for rows in found.values()] in ([[b"a"], [b"b"]], [[b"b"], [b"a"]])
    assert len(packs(site.store.objects)) == 1


def test_a_pointer_stays_readable_however_often_it_is_replaced(site):
    """With a short interval and a long give_up there are more replaced manifests than a pointer can hold."""
    site.write(a=b"one")
    site.publish()
    site.base._retired = tuple(Retired(os.urandom(32), site.now) for _ in range(20_000))
    site.write(b=b"two")
    site.publish()
    pointer = site.store.objects[pointer_name(site.tree.root)]
    assert len(pointer) < MAX_JSON
    site.start()
    assert site.publish() == ([], False)


def second_process(site):
    """Return the prefix and base of another process with the same state directory, which publishes another state."""
    prefix = Prefix(site.store, "me", free, lambda: site.now)
    state = site.state / "copy"
    state.mkdir(exist_ok=True)
    return prefix, TreeBase(site.tree, prefix, state, lambda: None, KEEP)


@pytest.mark.parametrize("conditions", [True, False])
def test_a_process_that_lost_its_claim_writes_no_pointer(site, conditions):
    site.store.conditions = conditions
    site.write(a=b"one")
    site.publish()
    prefix, other = second_process(site)
    prefix.open()
    site.write(b=b"two")
    site.tree.scan()
    with pytest.raises(StoreError, match="copy of this state directory"):
        site.base.publish()
    other.publish()
    other.close()
    (pointer,) = published.pointers(site.store)
    assert set(published.restored(site.store, pointer.manifest)) == {b"a", b"b"}


def test_a_pointer_that_arrives_after_that_of_another_process_is_refused(site):
    """The claim was still there when it was checked: the request itself is what comes too late."""
    site.write(a=b"one")
    site.publish()
    site.write(b=b"two")
    site.tree.scan()
    prefix, other = second_process(site)
    swap = site.store.swap

    def late(name, body, version):
        site.store.swap = swap
        prefix.open()
        site.tree.catalog.records.pop(b"a")
        other.publish()
        return swap(name, body, version)

    site.store.swap = late
    with pytest.raises(StoreError, match="changed by another process"):
        site.base.publish()
    (pointer,) = published.pointers(site.store)
    assert pointer.manifest == other.published.manifest
    assert set(published.restored(site.store, pointer.manifest)) == {b"b"}
    assert site.base.published is None, "it is not offered, because the other one may remove it"
    other.close()


def test_a_pointer_whose_write_was_not_confirmed_is_read_again(site):
    """The store has written it, and the answer was lost."""
    site.write(a=b"one")
    site.publish()
    site.write(b=b"two")
    site.tree.scan()
    swap = site.store.swap

    def unconfirmed(name, body, version):
        site.store.swap = swap
        swap(name, body, version)
        raise StoreError("the connection was lost")

    site.store.swap = unconfirmed
    with pytest.raises(StoreError, match="lost"):
        site.base.publish()
    with pytest.raises(StoreError, match="it is read again"):
        site.base.publish()
    site.base.publish()
    (pointer,) = published.pointers(site.store)
    assert set(published.restored(site.store, pointer.manifest)) == {b"a", b"b"}
