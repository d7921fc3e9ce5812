"""The way to a root: symlinks are followed where only trusted users could have made them, and nowhere else."""

import os
import struct

import pytest

from replicator.errors import PathRefused
from replicator.files.way import open_way
from tests.support.descriptors import files_open
from tests.support.tools import missing

ME = frozenset((os.geteuid(),))
OTHER_USER = 12345


def reached(place, trusted=ME, **how):
    """Return (the directory that was opened, why another user could have changed the way)."""
    fd, doubt = open_way(os.fsencode(place), trusted, **how)
    try:
        return os.readlink(f"/proc/self/fd/{fd}"), doubt
    finally:
        os.close(fd)


def belongs_to(path, uid):
    if os.geteuid() != 0:
        missing("root, who can give a directory to somebody else")
    os.chown(path, uid, -1)


@pytest.fixture
def site(tmp_path):
    """releases/1 and releases/2, and `current`, which points to the first."""
    for release in "12":
        (tmp_path / "site/releases" / release).mkdir(parents=True)
    (tmp_path / "site/current").symlink_to("releases/1")
    return tmp_path / "site"


def test_symlinks_that_only_trusted_users_can_change_are_followed(site):
    assert reached(site / "current") == (str(site / "releases/1"), "")
    (site / "up").symlink_to(site / "releases/../current")
    assert reached(f"{site}/./up//") == (str(site / "releases/1"), "")


def test_a_directory_whose_parent_belongs_to_another_user_is_opened_with_a_warning(site):
    belongs_to(site, OTHER_USER)
    place, doubt = reached(site / "releases/2")
    assert place == str(site / "releases/2")
    assert f"{site} belongs to user {OTHER_USER}" in doubt
    assert f"chown root {site}" in doubt
    assert reached(site / "releases/2", ME | {OTHER_USER})[1] == ""


@pytest.mark.parametrize("place", ["current", "current/deeper", "releases/link"])
def test_no_symlink_is_followed_from_a_step_that_another_user_can_change(site, place):
    (site / "releases/link").symlink_to("1")
    belongs_to(site, OTHER_USER)
    with pytest.raises(PathRefused, match=r"symlink .* is not followed, because .* belongs to"):
        reached(site / place)
    assert reached(site / "current", ME | {OTHER_USER})[0] == str(site / "releases/1")


def test_a_symlink_leads_through_steps_that_are_judged_as_well(site, tmp_path):
    (tmp_path / "to").symlink_to(site)
    belongs_to(site, OTHER_USER)
    assert "belongs to" in reached(tmp_path / "to/releases/1")[1]
    with pytest.raises(PathRefused):
        reached(tmp_path / "to/current")


@pytest.mark.parametrize("mode", [0o757, 0o777])
def test_a_world_writable_directory_is_reported(site, mode):
    site.chmod(mode)
    assert "everybody can replace" in reached(site / "releases/1")[1]
    with pytest.raises(PathRefused):
        reached(site / "current")


def test_in_a_sticky_directory_the_owner_of_the_entry_counts(site):
    site.chmod(0o1777)
    assert reached(site / "current") == (str(site / "releases/1"), "")
    belongs_to(site / "releases", OTHER_USER)
    assert "everybody can replace" in reached(site / "releases/1")[1]
    os.chown(site / "current", OTHER_USER, -1, follow_symlinks=False)
    with pytest.raises(PathRefused):
        reached(site / "current")


def test_a_group_of_trusted_users_alone_may_write(site):
    site.chmod(0o775)
    if os.geteuid() == 0:  # whose group has no other members
        assert reached(site / "current") == (str(site / "releases/1"), "")
        os.chown(site, -1, OTHER_USER)
        assert "a group can replace" in reached(site / "releases/1")[1]


def test_an_access_control_list_is_reported(site):
    entries = ((1, 7, -1), (2, 7, OTHER_USER), (4, 5, -1), (16, 7, -1), (32, 5, -1))  # of acl(5)
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(site, "system.posix_acl_access", acl)
    except OSError:
        missing("a file system with access control lists")
    assert "a group can replace" in reached(site / "releases/1")[1]


def test_what_is_no_directory_and_what_leads_nowhere_is_an_error(site):
    (site / "file").touch()
    (site / "loop").symlink_to("loop")
    (site / "dangling").symlink_to("releases/3")
    for name, error in (
        ("file", NotADirectoryError),
        ("file/deeper", NotADirectoryError),
        ("missing", FileNotFoundError),
        ("dangling", FileNotFoundError),
        ("loop", OSError),
    ):
        with pytest.raises(error):
            reached(site / name)


def test_no_descriptor_stays_open(site):
    before = files_open()
    (site / "absolute").symlink_to(site / "current")
    for place in ("current", "absolute", "missing", "current/missing"):
        try:
            reached(site / place)
        except OSError:
            assert "missing" in place
    assert files_open() == before
