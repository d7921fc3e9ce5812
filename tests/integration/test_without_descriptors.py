"""The kernel gives no file descriptors for a while (EMFILE): nothing ends, nothing is deleted, and all goes on by itself after."""

import contextlib
import os
import re
import resource

import pytest

from tests.support.tools import missing
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def two(fleet):
    return [fleet.add(f"starved-{i}", f"127.0.3.{i}") for i in (1, 2)]


@pytest.fixture
def backend(make, two):
    if os.geteuid() != 0:
        missing("root, who can limit another process")
    backend = make(two)
    second = backend.directory / "second"
    second.mkdir()
    backend.more_trees = [{"source": "second", "target": f"{backend.target}-second"}]
    backend.configure()
    backend.fill(20)
    (second / "first").write_text("first")
    backend.start()
    backend.wait_until_equal()
    return backend


@contextlib.contextmanager
def without_descriptors(pid, left=0):
    """Let a process open no more than `left` files beside those that it has open now."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    most = max(map(int, os.listdir(f"/proc/{pid}/fd"))) + 1 + left if left else 3
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def write(backend, name):
    """Change both trees: files, directories, a large file, and a removal."""
    for source in (backend.source, backend.directory / "second"):
        directory = source / f"directory-{name}"
        (directory / "deep/er").mkdir(parents=True)
        for number in range(30):
            (directory / f"deep/er/{number}").write_text(f"{name} {number}")
        (directory / "large").write_bytes(os.urandom(3 << 20))
        (source / name).write_text(name)


def is_equal(backend, name):
    backend.wait_until_equal()
    for server in backend.servers:
        copy = backend.fleet.copy(server, f"{backend.target}-second")
        for path in (name, f"directory-{name}/deep/er/29"):
            wait_for(lambda c=copy / path: c.exists(), backend.status)
        assert (copy / "first").read_text() == "first"


@pytest.mark.parametrize("left", [0, 2])
def test_a_daemon_without_descriptors_for_a_while_resumes_by_itself(backend, two, left):
    """With two descriptors left some opens succeed, such as those of a walk down to some depth."""
    logged = backend.log.read_text()

    def has_failed():
        return backend.log.read_text()[len(logged) :].count("Too many open files") >= 1

    with without_descriptors(backend.daemon.pid, left):
        write(backend, "starved")
        two[1].stop()  # so that it is dialled again meanwhile
        two[1].start()
        wait_for(has_failed, backend.log.read_text)
        assert backend.daemon.poll() is None
    is_equal(backend, "starved")
    write(backend, "after")
    is_equal(backend, "after")


def test_an_agent_that_can_open_nothing_for_a_while_is_sent_again_what_it_refused(backend, two):
    about = backend.row(two[0])["agent"]
    pid = int(re.search(r"pid (\d+)", about)[1])
    with without_descriptors(pid):
        write(backend, "starved")
        wait_for(lambda: backend.row(two[0])["last_error"], backend.status)
        wait_for(lambda: backend.row(two[1])["dirty"] == 0, backend.status)
    is_equal(backend, "starved")
    assert backend.run("verify").returncode == 0
