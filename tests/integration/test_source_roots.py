"""The source's root is an identity, not a name: whether another directory in its place is read depends on which users could have put it there."""

import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest

from tests.support.backend import Backend
from tests.support.disks import disk, volume
from tests.support.looking import texts
from tests.support.tools import missing
from tests.support.waiting import wait_for

OTHER_USER = 12345
SECRET = "for root alone"


@pytest.fixture
def parent(tmp_path):
    """The directory that holds the source."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/upload").mkdir()
    (tmp_path / "site/upload/picture").write_text("picture")
    return tmp_path / "site"


@pytest.fixture
def secret(tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o700)
    (secret / "picture").write_text(SECRET)
    (secret / "key").write_text(SECRET)
    return secret


def give_to_other_user(directory):
    if os.geteuid() != 0:
        missing("root, who can give a directory to somebody else")
    os.chown(directory, OTHER_USER, OTHER_USER)


def backend(tmp_path, source, **tree):
    return Backend(tmp_path, tree={"source": str(source), **tree})


def row(running):
    return running.status()["trees"][0]


def halts(running, *words):
    wait_for(
        lambda: (
            row(running)["state"] == "halted"
            and all(w in " ".join(row(running)["problems"]) for w in words)
        ),
        running.explain_status,
    )


def sites(running):
    return [texts(running.site(host)) for host in running.hosts]


def follows(running, source, name):
    (source / name).write_text(name)
    wait_for(lambda: all(site.get(name) == name for site in sites(running)), running.explain_status)


def swap(parent, make):
    """Replace the root, as another user can who owns its parent."""
    (parent / "upload").rename(parent / "aside")
    make(parent / "upload")


@pytest.mark.parametrize("running_at_the_swap", [True, False])
def test_a_symlink_that_another_user_made_is_never_followed(
    tmp_path, parent, secret, running_at_the_swap
):
    give_to_other_user(parent)
    with backend(tmp_path, parent / "upload") as running:
        follows(running, parent / "upload", "before")
        if running_at_the_swap:
            swap(parent, lambda upload: upload.symlink_to(secret))
            halts(running, "symlink", f"chown root {parent}")
            is_refused(running)
    if not running_at_the_swap:
        swap(parent, lambda upload: upload.symlink_to(secret))
        with backend(tmp_path, parent / "upload") as running:
            halts(running, "symlink", f"chown root {parent}")
            is_refused(running)


def is_refused(running):
    running.ask(command="resume")
    halts(running, "symlink")
    assert all(site == {"picture": "picture", "before": "before"} for site in sites(running))


def test_a_root_that_another_user_replaced_is_not_read_before_resume(tmp_path, parent, secret):
    """The directory may have files that only root can read, so that the other user could publish them."""
    give_to_other_user(parent)
    with backend(tmp_path, parent / "upload") as running:
        follows(running, parent / "upload", "before")
        swap(parent, lambda upload: shutil.copytree(secret, upload))
        halts(running, "another directory", "resume")
        read = row(running)["bytes_read"]
        wait_for(lambda: running.ask(command="status"), "an answer")
        assert all("key" not in site for site in sites(running))
        assert row(running)["bytes_read"] == read
        running.ask(command="resume")
        wait_for(
            lambda: all(site.get("key") == SECRET for site in sites(running)),
            running.explain_status,
        )
        wait_for(lambda: row(running)["state"] == "watching", running.explain_status)


def test_a_tree_resumes_when_the_same_directory_returns(tmp_path, parent, secret):
    give_to_other_user(parent)
    with backend(tmp_path, parent / "upload") as running:
        follows(running, parent / "upload", "before")
        swap(parent, lambda upload: upload.symlink_to(secret))
        halts(running, "symlink")
        (parent / "upload").unlink()
        (parent / "aside").rename(parent / "upload")
        follows(running, parent / "upload", "after")
        assert all("key" not in site for site in sites(running))


@pytest.mark.parametrize("trust", [(), (str(OTHER_USER),)])
def test_a_symlink_that_only_trusted_users_can_switch_is_followed(tmp_path, trust):
    """Capistrano and Deployer switch `current` to the next release."""
    site = tmp_path / "site"
    for release in ("1", "2"):
        (site / release).mkdir(parents=True)
        (site / release / "picture").write_text("picture")
    (site / "current").symlink_to("1")
    if trust:
        give_to_other_user(site)
        os.chown(site / "current", OTHER_USER, -1, follow_symlinks=False)
    with backend(tmp_path, site / "current", trust=trust) as running:
        follows(running, site / "1", "before")
        (site / "2/before").write_text("in both")
        (site / "2/new").write_text("new")
        (site / "next").symlink_to("2")
        (site / "next").rename(site / "current")
        wait_for(
            lambda: (
                sites(running) == [{"picture": "picture", "before": "in both", "new": "new"}] * 2
            ),
            running.explain_status,
        )
        follows(running, site / "2", "after")


def test_a_wrong_directory_is_not_read_before_it_is_judged(tmp_path, parent):
    """It could be a wrongly mounted volume: nobody but root could have put it there, and it has next to nothing of before."""
    for number in range(20):
        (parent / f"upload/{number}").write_text("known")
    with backend(tmp_path, parent / "upload") as running:
        follows(running, parent / "upload", "before")
        wait_for(running.quiet, running.explain_status)
        wrong = parent / "wrong"
        wrong.mkdir()
        for number in range(500):
            (wrong / f"other {number}").write_text("of another tree")
        swap(parent, wrong.rename)
        halts(running, "is the right volume mounted")
        known = set(sites(running)[0])
        assert not any("other" in name for name in known)
        assert row(running)["entries"] == len(known)
        (parent / "upload").rename(wrong)
        (parent / "aside").rename(parent / "upload")
        follows(running, parent / "upload", "after")
        assert not any("other" in name for site in sites(running) for name in site)


def test_a_tree_resumes_after_a_wrong_volume_over_its_root_is_unmounted(tmp_path, parent):
    """Not lazily: nothing of it is held once it is refused."""
    for number in range(20):
        (parent / f"upload/{number}").write_text("known")
    with backend(tmp_path, parent / "upload") as running:
        follows(running, parent / "upload", "before")
        with disk(parent / "upload") as wrong:
            (wrong.where / "other").write_text("of another tree")
            halts(running, "is the right volume mounted")
            wait_for(wrong.unmount, running.explain_status)
        follows(running, parent / "upload", "after")
        assert not any("other" in site for site in sites(running))


def test_nothing_is_sent_while_the_root_is_in_doubt(tmp_path, parent):
    """Also nothing that was found before, and no deletion: to a frontend that connects meanwhile, for example."""
    running = backend(tmp_path, parent / "upload")
    with running:
        follows(running, parent / "upload", "before")
        wait_for(running.quiet, running.explain_status)
        running.connector.refused.add("two")
        running.connector.kill("two")
        wait_for(lambda: running.row("two")["state"] == "retrying", running.explain_status)
        (parent / "upload/meanwhile").write_text("meanwhile")
        (parent / "upload/picture").unlink()
        wait_for(lambda: "picture" not in sites(running)[0], running.explain_status)
        (parent / "upload").rename(parent / "aside")
        halts(running, "is missing")
        running.connector.refused.clear()
        wait_for(lambda: running.row("two")["dirty"], running.explain_status)
        assert sites(running)[1] == {"picture": "picture", "before": "before"}
        (parent / "aside").rename(parent / "upload")
        wait_for(lambda: sites(running)[1] == sites(running)[0], running.explain_status)


def test_a_source_that_is_missing_at_the_start_halts_its_tree_and_no_other(tmp_path, parent):
    trees = [
        {"source": str(tmp_path / "source"), "target": "/first"},
        {"source": str(parent / "none"), "target": "/site"},
    ]
    (tmp_path / "source").mkdir()
    (tmp_path / "source/file").write_text("content")
    with Backend(tmp_path, trees=trees) as running:
        wait_for(
            lambda: [tree["state"] for tree in running.status()["trees"]] == ["watching", "halted"],
            running.explain_status,
        )
        (parent / "none").mkdir()
        (parent / "none/late").write_text("late")
        wait_for(lambda: all(site.get("late") for site in sites(running)), running.explain_status)


def test_a_volume_whose_device_number_is_another_one_after_a_reboot_is_the_same(tmp_path):
    """NVMe disks are numbered in the order in which they answer; ext4 has a UUID."""
    with volume(tmp_path) as made:
        parent = made.where / "site"
        (parent / "upload").mkdir(parents=True)
        give_to_other_user(parent)
        with backend(tmp_path, parent / "upload") as running:
            follows(running, parent / "upload", "before")
            wait_for(running.quiet, running.explain_status)
        before = made.where.stat().st_dev
        subprocess.run(["umount", made.where], check=True)
        with loop_device_in_use(os.minor(before), tmp_path):
            made.mount()
        assert made.where.stat().st_dev != before
        with backend(tmp_path, parent / "upload") as running:
            follows(running, parent / "upload", "after")
            assert row(running)["state"] == "watching"
            assert row(running)["problems"] == []


def test_another_volume_with_the_device_number_of_the_one_before_is_judged(tmp_path):
    """The root of an ext4 file system is always inode 2; only its UUID distinguishes it from another."""
    with volume(tmp_path) as made:
        with backend(tmp_path, made.where) as running:
            for number in range(20):
                (made.where / f"{number}").write_text("known")
            follows(running, made.where, "before")
            wait_for(running.quiet, running.explain_status)
        before = made.where.stat()
        made.make_anew()
        assert (made.where.stat().st_dev, made.where.stat().st_ino) == before[2:0:-1]
        (made.where / "other").write_text("of another tree")
        with backend(tmp_path, made.where) as running:
            halts(running, "is the right volume mounted")
            assert all("other" not in site and len(site) == 21 for site in sites(running))


@contextmanager
def loop_device_in_use(number, tmp_path):
    """Use a loop device, unless another test uses it already."""
    (tmp_path / "other").write_bytes(bytes(1 << 20))
    device = f"/dev/loop{number}"
    used = subprocess.run(["losetup", device, tmp_path / "other"], check=False, capture_output=True)
    try:
        yield
    finally:
        if not used.returncode:
            subprocess.run(["losetup", "--detach", device], check=True)
