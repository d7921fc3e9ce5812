"""A ready file counts in the boot that it was written in."""

import os
import time

import pytest

from replicator.agent import boot
from replicator.files.confined import Confined

HERE = "11111111-2222-3333-4444-555555555555"
PATH = b".replicator/ready"


@pytest.fixture
def ready(tmp_path):
    (tmp_path / ".replicator").mkdir()
    return tmp_path / ".replicator/ready"


def kept(tmp_path, path=PATH):
    tree = Confined.open(os.fsencode(tmp_path))
    try:
        boot.remove_of_another(tree, path, HERE)
    finally:
        tree.close()
    return os.path.lexists(os.path.join(os.fsencode(tmp_path), path))


def test_this_boot_has_an_id_that_stays():
    assert boot.current() == boot.current() != ""


@pytest.mark.parametrize(
    ("content", "stays"),
    [
        (f"replicator: web1 holds everything\nboot: {HERE}\n", True),
        ("replicator: web1 holds everything\nboot: 99999999-2222\n", False),
        (f"boot: {HERE}\nboot: 9\n", False),
        ("boot: \n", False),
    ],
)
def test_a_file_of_another_boot_goes_and_its_directory_keeps_its_time(
    tmp_path, ready, content, stays
):
    ready.write_text(content)
    os.utime(ready.parent, ns=(5, 5))
    assert kept(tmp_path) == stays
    assert ready.parent.stat().st_mtime_ns == 5


def test_of_a_file_that_names_no_boot_the_time_decides(tmp_path, ready, monkeypatch):
    ready.write_text("replicator: web1 holds everything\n")
    assert kept(tmp_path)
    later = time.time() + 1000
    monkeypatch.setattr(boot.time, "clock_gettime", lambda _: time.time() - later)
    assert not kept(tmp_path)


@pytest.mark.parametrize("path", [b"missing", b"missing/ready", b"../ready", b"", b"a\0b", b"link"])
def test_what_is_no_file_there_is_left_alone(tmp_path, path):
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "elsewhere").write_text("boot: other\n")
    tree = Confined.open(os.fsencode(tmp_path))
    boot.remove_of_another(tree, path, HERE)
    tree.close()
    assert {p.name for p in tmp_path.iterdir()} == {"link", "elsewhere"}
