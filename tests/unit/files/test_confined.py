"""Nothing outside the root is reached, whatever is put in the way, and no descriptor is lost."""

import os
import socket

import pytest

from replicator.errors import PathRefused
from replicator.files.confined import CACHE_SIZE, Confined
from replicator.model import join
from tests.support.descriptors import files_open

NOT_FOLLOWED = r"symbolic links|Not a directory"


@pytest.fixture
def root(tmp_path):
    place = tmp_path / "root"
    (place / "a" / "b").mkdir(parents=True)
    (place / "a" / "b" / "f").write_bytes(b"inside")
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    (outside / "b" / "f").write_bytes(b"outside")
    return place


@pytest.fixture
def tree(root):
    before = files_open()
    opened = Confined.open(os.fsencode(root))
    yield opened
    opened.close()
    assert files_open() == before


def content(tree, path):
    fd = tree.open_file(path)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


def test_files_and_directories_are_reached(tree):
    assert content(tree, b"a/b/f") == b"inside"
    assert tree.lstat(b"a/b").st_ino == os.fstat(tree.directory(b"a/b")).st_ino
    assert tree.lstat(b"").st_ino == os.fstat(tree.root_fd).st_ino
    with pytest.raises(FileNotFoundError):
        tree.lstat(b"a/none/f")
    with pytest.raises(NotADirectoryError):
        tree.lstat(b"a/b/f/g")


@pytest.mark.parametrize("component", ["a", "a/b", "a/b/f"])
def test_no_component_may_be_a_symlink(root, tree, component):
    inside = root / component
    outside = root.parent / "outside" / component.removeprefix("a").lstrip("/")
    inside.rename(root / "moved")
    inside.symlink_to(outside)
    with pytest.raises(OSError, match=NOT_FOLLOWED):
        tree.open_file(b"a/b/f")
    if component != "a/b/f":
        with pytest.raises(OSError, match=NOT_FOLLOWED):
            tree.lstat(b"a/b/f")


def test_a_directory_swapped_in_mid_flight_leads_nowhere_else(root, tree):
    """An open descriptor stays inside the tree; a new lookup is refused."""
    tree.directory(b"a/b")
    (root / "a").rename(root / "elsewhere")
    (root / "a").symlink_to(root.parent / "outside")
    assert content(tree, b"a/b/f") == b"inside"
    tree.forget(b"a")
    with pytest.raises(OSError, match="Not a directory"):
        tree.open_file(b"a/b/f")


@pytest.mark.parametrize(
    "path", [b"../outside/f", b"a/../../outside/f", b"..", b"a/..", b".", b"a//f"]
)
def test_a_path_that_leaves_the_root_is_refused(tree, path):
    for act in (tree.open_file, tree.lstat, tree.locate, tree.directory):
        with pytest.raises(PathRefused):
            act(path)


@pytest.mark.parametrize("kind", ["fifo", "socket", "directory", "device"])
def test_only_regular_files_are_opened(root, tree, kind):
    place = os.fspath(root / "special")
    with socket.socket(socket.AF_UNIX) as server:
        match kind:
            case "fifo":
                os.mkfifo(place)
            case "socket":
                here = os.getcwd()
                os.chdir(root)  # a socket's address has at most 107 bytes
                server.bind("special")
                os.chdir(here)
            case "directory":
                os.mkdir(place)
            case "device":
                if os.geteuid():
                    pytest.skip("only root makes devices")
                os.mknod(place, 0o20600, os.makedev(1, 3))
        with pytest.raises((PathRefused, OSError)):
            tree.open_file(b"special")


def test_a_new_directory_is_found_after_forget(root, tree):
    tree.directory(b"a/b")
    (root / "a" / "b").rename(root / "moved")
    (root / "a" / "b").mkdir()
    (root / "a" / "b" / "f").write_bytes(b"new")
    assert content(tree, b"a/b/f") == b"inside"
    tree.forget(b"a")
    assert content(tree, b"a/b/f") == b"new"


def test_forget_drops_what_is_below_and_nothing_else(root, tree):
    for name in (b"a/b", b"a.x", b"ab"):
        (root / os.fsdecode(name)).mkdir(exist_ok=True)
        tree.directory(name)
    held = files_open()
    tree.forget(b"a")
    assert files_open() == held - 2  # of a and a/b
    tree.forget_all()
    assert files_open() == held - 4


def test_held_descriptors_are_bounded_even_on_a_deep_way(root, tree):
    before = files_open()
    path = b""
    for _ in range(CACHE_SIZE + 20):
        path = join(path, b"d")
        os.mkdir(os.path.join(os.fsencode(root), path))
    for _ in range(2):
        assert os.fstat(tree.directory(path)).st_ino == tree.lstat(path).st_ino
    assert files_open() <= before + CACHE_SIZE + 1


def test_failures_leave_no_descriptor(root, tree):
    before = files_open()
    os.mkfifo(root / "fifo")
    for path in (b"fifo", b"none", b"a"):
        with pytest.raises((PathRefused, OSError)):
            tree.open_file(path)
    assert files_open() == before
