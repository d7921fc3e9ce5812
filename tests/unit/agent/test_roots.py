"""Where a tree goes: made if its parent exists, and never outside of the jail."""

import os

import pytest

from replicator.agent import roots
from replicator.agent.fencing import FencingTokens
from replicator.agent.roots import open_tree
from replicator.errors import PathRefused
from replicator.wire.messages import OpenTree


def opened(root, jail=None, owner=""):
    request = OpenTree(1, os.fsencode(root), owner)
    store = open_tree(
        request,
        session=b"test",
        pin_root=None if jail is None else os.fsencode(jail),
        tokens=FencingTokens(),
    )
    try:
        return os.readlink(f"/proc/self/fd/{store.tree.root_fd}"), store.owner
    finally:
        store.tree.close()


def test_a_root_is_made_when_its_parent_exists_and_only_then(tmp_path):
    assert opened(tmp_path / "site")[0] == str(tmp_path / "site")
    with pytest.raises(FileNotFoundError):
        opened(tmp_path / "missing" / "site")


@pytest.mark.parametrize("root", ["", "site", "/", "//", "/a/..", "/a\0b"])
def test_what_is_no_place_for_a_tree_is_refused(root):
    with pytest.raises(PathRefused):
        opened(root)


def test_in_a_jail_a_root_inside_it_is_itself_and_any_other_is_taken_below_it(tmp_path):
    jail = tmp_path / "jail"
    jail.mkdir()
    assert opened(jail / "site", jail)[0] == str(jail / "site")
    assert opened("/var/www/site", jail)[0] == str(jail / "var/www/site")
    assert opened(tmp_path / "jailbreak", jail)[0] == f"{jail}{tmp_path}/jailbreak"


def test_in_a_jail_no_symlink_is_followed(tmp_path):
    (tmp_path / "jail").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "jail/way").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError):  # noqa: PT011  # ELOOP or ENOTDIR, as the kernel likes
        opened("/way/site", tmp_path / "jail")
    assert os.listdir(tmp_path / "outside") == []


def test_an_owner_by_number_or_name_and_an_unknown_one(tmp_path):
    assert opened(tmp_path / "site", owner="12:34")[1] == (12, 34)
    assert opened(tmp_path / "site", owner="root:root")[1] == (0, 0)
    assert opened(tmp_path / "site")[1] == (-1, -1)
    for owner in ("nobody-of-that-name:root", "root:²", "4294967295", "a\0b", "\ud800"):
        with pytest.raises(LookupError):
            opened(tmp_path / "site", owner=owner)


def test_names_that_were_remembered_need_no_file(tmp_path, monkeypatch):
    def unreachable(name):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(roots, "known_ids", {})
    roots.remember_names()
    monkeypatch.setattr(roots.pwd, "getpwnam", unreachable)
    monkeypatch.setattr(roots.grp, "getgrnam", unreachable)
    assert opened(tmp_path / "site", owner="root:root")[1] == (0, 0)
    with pytest.raises(LookupError):
        opened(tmp_path / "site", owner="nobody-of-that-name")


@pytest.mark.parametrize("number", ["²", "1\x1d2", "9" * 5000, "4294967295", "-1", ""])
def test_a_line_with_an_invalid_number_is_ignored(tmp_path, monkeypatch, number):
    monkeypatch.setattr(roots, "known_ids", {})
    names = tmp_path / "names"
    names.write_text(f"wrong:x:{number}:\nright:x:7:\n")
    monkeypatch.setattr(roots, "open", lambda _, **how: names.open(**how), raising=False)
    roots.remember_names()
    assert roots.known_ids == {("user", "right"): 7, ("group", "right"): 7}


def test_a_root_that_is_made_can_be_read_by_others_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        opened(tmp_path / "free")
        opened("/a/b", tmp_path)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    modes = [(tmp_path / path).stat().st_mode & 0o777 for path in ("free", "a", "a/b")]
    assert modes == [0o755] * 3
