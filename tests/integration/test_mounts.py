"""File systems that are mounted below the root of a source: they are followed, and their absence deletes nothing."""

import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest

from tests.support.backend import Backend
from tests.support.disks import disk
from tests.support.tools import missing
from tests.support.waiting import wait_for

MANY = 130


class Volume:
    """A directory, in a file system of its own or not, that is mounted somewhere else."""

    def __init__(self, what, where):
        self.what, self.where, self.is_mounted = what, where, False

    def mount(self):
        command = ["mount", "--bind", self.what, self.where]
        if os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
            missing("the right to mount")
        self.is_mounted = True

    def unmount(self):
        subprocess.run(["umount", "--lazy", self.where], check=True)
        self.is_mounted = False


@contextmanager
def mounted(what, where):
    volume = Volume(what, where)
    volume.mount()
    try:
        yield volume
    finally:
        if volume.is_mounted:
            volume.unmount()


@pytest.fixture(params=["of its own", "of the source"])
def volume(tmp_path, request):
    """What will be mounted in the source: its files are on another device, or on the same."""
    if request.param == "of the source":
        (tmp_path / "volume").mkdir()
        yield tmp_path / "volume"
        return
    with disk(tmp_path / "volume"):
        yield tmp_path / "volume"


def fill(directory, many=MANY):
    directory.mkdir(exist_ok=True)
    for number in range(many):
        (directory / f"{number}.jpg").write_text(f"picture {number}")


def problems(backend):
    return " ".join(backend.status()["trees"][0]["problems"])


def arrives(backend, path, content):
    wait_for(
        lambda: all(read(backend.site(host) / path) == content for host in backend.hosts),
        backend.explain,
    )


def read(path):
    try:
        return path.read_text()
    except OSError:
        return None


@pytest.fixture
def source(tmp_path):
    source = tmp_path / "source"
    fill(source)
    (source / "media").mkdir()
    return source


def test_a_volume_that_is_mounted_while_the_daemon_runs_is_followed(tmp_path, source, volume):
    (volume / "deep/er").mkdir(parents=True)
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
        with mounted(volume, source / "media"):
            (source / "media/deep/er/first").write_text("first")
            arrives(backend, "media/deep/er/first", "first")
            (source / "media/deep/er/first").write_text("second")
            arrives(backend, "media/deep/er/first", "second")
            backend.wait_until_equal()
        wait_for(lambda: "is missing" in problems(backend), backend.explain)
        backend.ask(command="resume")  # it was meant to go
        backend.wait_until_equal()
        assert problems(backend) == ""


@pytest.mark.parametrize("running", [True, False])
def test_a_volume_that_is_unmounted_deletes_nothing_and_resumes_after_its_return(
    tmp_path, source, volume, running
):
    fill(volume)
    with mounted(volume, source / "media") as mount:
        with Backend(tmp_path) as backend:
            backend.wait_until_equal()
            if running:
                goes_away_and_comes_back(backend, mount)
        if not running:
            mount.unmount()
            with Backend(tmp_path) as backend:
                is_kept(backend)
                mount.mount()
                heals(backend)


def test_a_volume_with_the_directory_it_was_mounted_on_may_be_missing(tmp_path, source, volume):
    (source / "above/media").mkdir(parents=True)
    fill(volume)
    with mounted(volume, source / "above/media") as mount:
        with Backend(tmp_path) as backend:
            backend.wait_until_equal()
            mount.unmount()
            (source / "above/media").rmdir()
            (source / "above").rmdir()
            is_kept(backend, "above/media")
        with Backend(tmp_path) as backend:
            is_kept(backend, "above/media")


def goes_away_and_comes_back(backend, mount):
    mount.unmount()
    (mount.where / "underneath").write_text("not of the volume")
    (mount.where / "1.jpg").write_text("not of the volume")
    is_kept(backend)
    mount.mount()
    heals(backend)


def is_kept(backend, where="media"):
    """Wait until the missing mount is reported, and the rest of the tree is replicated."""
    (backend.source / "after").write_text("the rest flows")
    arrives(backend, "after", "the rest flows")
    wait_for(lambda: "is missing" in problems(backend), backend.explain)
    for host in backend.hosts:
        assert len(list((backend.site(host) / where).glob("*.jpg"))) == MANY
        assert read(backend.site(host) / where / "1.jpg") == "picture 1"
        assert not (backend.site(host) / where / "underneath").exists()


def heals(backend):
    wait_for(lambda: not problems(backend), backend.explain)
    (backend.source / "media/again").write_text("again")
    arrives(backend, "media/again", "again")
    backend.wait_until_equal()


@pytest.mark.parametrize("empty", [True, False])
def test_another_volume_at_a_mount_point_is_not_replicated(tmp_path, source, volume, empty):
    fill(source / "media")
    with Backend(tmp_path) as backend:
        backend.wait_until_equal()
        if not empty:
            (volume / "another").write_text("another")
        with mounted(volume, source / "media"):
            wait_for(
                lambda: (
                    "is the right volume" in problems(backend)
                    or "is its volume" in problems(backend)
                ),
                backend.explain,
            )
            (source / "after").write_text("the rest flows")
            arrives(backend, "after", "the rest flows")
            for host in backend.hosts:
                assert {path.name for path in (backend.site(host) / "media").iterdir()} == {
                    f"{number}.jpg" for number in range(MANY)
                }
        heals(backend)


def test_another_volume_with_the_same_device_and_mount_number_is_not_replicated(tmp_path, source):
    """The kernel gives the lowest free device and mount number, so usually the same, to what is mounted next."""
    media = source / "media"
    with Backend(tmp_path) as backend:
        with disk(media):
            fill(media)
            backend.wait_until_equal()
        with disk(media):
            (media / "another").write_text("another")
            wait_for(lambda: "is the right volume" in problems(backend), backend.explain)
            for host in backend.hosts:
                assert len(list((backend.site(host) / "media").iterdir())) == MANY
            backend.ask(command="resume")  # it was meant to be changed
            backend.wait_until_equal()


def test_a_directory_that_is_mounted_twice_is_followed_at_both_places(tmp_path, source, volume):
    (source / "other").mkdir()
    (source / "loop").mkdir()
    with mounted(volume, source / "media"), mounted(source / "media", source / "other"), \
            mounted(source, source / "loop"), Backend(tmp_path) as backend:  # fmt: skip
        backend.wait_until_equal()
        for number, place in enumerate(("media", "other", "media", "loop/new", "new", "loop", "")):
            (source / place).mkdir(exist_ok=True)
            (source / place / f"{number}").write_text("first")
            backend.wait_until_equal()
            (source / place / f"{number}").rename(source / place / f"{number} renamed")
            backend.wait_until_equal()
        (source / "media/0 renamed").unlink()
        shutil.move(source / "new/4 renamed", source / "media/4")
        backend.wait_until_equal()
        assert problems(backend) == ""


def test_a_mount_moves_with_its_renamed_parent(tmp_path, source, volume):
    (source / "above/media").mkdir(parents=True)
    fill(volume)
    with mounted(volume, source / "above/media") as mount, Backend(tmp_path) as backend:
        backend.wait_until_equal()
        (source / "above").rename(source / "below")
        mount.where = source / "below/media"
        backend.wait_until_equal()
        (source / "below/media/new").write_text("new")
        arrives(backend, "below/media/new", "new")
        mount.unmount()
        is_kept(backend, "below/media")


def test_a_file_that_is_mounted_is_followed(tmp_path, source):
    (source / "here").touch()
    with mounted(source / "1.jpg", source / "here"), Backend(tmp_path) as backend:
        arrives(backend, "here", "picture 1")
        (source / "1.jpg").write_text("another picture")
        arrives(backend, "here", "another picture")


def test_a_file_that_is_mounted_from_elsewhere_is_checked_by_wait(tmp_path, source):
    outside = tmp_path / "outside"
    outside.write_text("0")
    (source / "here").touch()
    with (
        mounted(outside, source / "here"),
        Backend(tmp_path, settle={"cooldown": 0.05, "max_wait": 1.0, "rescan": 3600}) as backend,
    ):
        arrives(backend, "here", "0")
        for number in range(1, 6):
            outside.write_text(str(number))
            assert backend.ask(command="wait", timeout=30)[-1]["ok"]
            assert (backend.site("two") / "here").read_text() == str(number)
