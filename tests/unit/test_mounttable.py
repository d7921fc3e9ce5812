"""The mount table: which file system a path leads to, as the kernel writes it."""

import os
import threading

import pytest

from replicator import mounttable
from replicator.mounttable import MountEvents, MountTable, Prober, Visible, below, parse

TEXT = rb"""22 27 0:21 / /proc rw,relatime shared:1 - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 8:1 / /srv/up\040load/media rw master:3 propagate_from:1 - xfs /dev/sda1 rw
31 30 254:0 /data/big /srv/up\040load/media/big rw - ext4 /dev/vda rw
32 27 0:50 / /srv/upload2 rw - tmpfs tmpfs rw
33 27 0:51 / /srv/covered/deep rw - tmpfs tmpfs rw
34 27 0:52 / /srv/covered rw - nfs4 server:/export\134a rw
35 34 0:53 / /srv/covered/deep rw - fuse.sshfs me@there rw
36 35 0:54 / /srv/covered/deep rw - tmpfs upper rw
half a line
"""


@pytest.fixture
def mounts():
    return list(parse(TEXT))


def test_a_line_is_read_with_its_escapes_and_optional_fields(mounts):
    assert len(mounts) == 9
    assert mounts[2][2:7] == (b"8:1", b"/", b"/srv/up load/media", b"xfs", b"/dev/sda1")
    assert mounts[6].source == rb"server:/export\a"
    assert len({mount.identity for mount in mounts}) == 9


def test_mounts_below_a_path_have_relative_paths(mounts):
    assert {path: m.number for path, m in below(mounts, b"/srv/up load").items()} == {
        b"media": 30,
        b"media/big": 31,
    }
    assert below(mounts, b"/srv/upload") == {}
    assert below(mounts, b"/srv/upload2") == {}


def test_a_mount_that_another_one_hides_does_not_count(mounts):
    assert {path: m.number for path, m in below(mounts, b"/srv").items()} == {
        b"covered": 34, b"covered/deep": 36, b"up load/media": 30, b"up load/media/big": 31, b"upload2": 32,
    }  # fmt: skip


def test_a_path_lies_on_the_nearest_mount_above_it(mounts):
    visible = Visible(mounts)
    numbers = [
        visible.at(path).number
        for path in (b"/srv/up load", b"/srv/up load/media/x/y", b"/srv/covered/deep/x", b"/proc")
    ]
    assert numbers == [27, 30, 36, 22]


def test_what_another_machine_or_process_answers_for_may_hang(mounts):
    assert [mount.number for mount in mounts if mount.may_hang] == [34, 35]


def test_the_kernels_own_table_is_read_and_stays_what_it_is():
    table = MountTable()
    assert table.below(b"/") == table.below(b"/") != {}
    assert table.holding(b"/proc/self").kind == b"proc"
    before = table.generation()
    assert table.generation() == before
    table.forget()
    assert table.generation() != before
    table.close()


def test_a_file_system_that_does_not_answer_is_asked_once(monkeypatch):
    answer, asked = threading.Event(), []
    monkeypatch.setattr(
        mounttable.os, "statvfs", lambda point: (asked.append(point), answer.wait())
    )
    prober = Prober()
    prober.ask(b"/slow")
    prober.ask(b"/slow")
    assert asked == [b"/slow"]
    assert not prober.answered(b"/slow")
    assert prober.answered(b"/other")
    answer.set()
    assert prober.answered(b"/slow", 10.0)


def test_closing_mount_events_twice_does_not_close_the_files_of_others():
    events = MountEvents(lambda: None)
    events.close()
    others = [os.open("/dev/null", os.O_RDONLY) for _ in range(2)]  # with the freed numbers
    events.close()
    for fd in others:
        os.close(fd)
