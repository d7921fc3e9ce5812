"""A file system that never answers, below a source: the rest of the tree and the other tree go on, and the daemon can be ended."""

import contextlib
import ctypes
import json
import os
import signal
import subprocess
from contextlib import contextmanager

import pytest

from tests.support.tools import missing
from tests.support.waiting import FOREVER, wait_for


@contextmanager
def hung(where):
    """Mount a FUSE file system whose server never reads a request, so that even the first request stays unanswered."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        missing("root, and /dev/fuse")
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={fd},rootmode=40755,user_id=0,group_id=0,allow_other".encode()
    try:
        if libc.mount(b"silent", os.fsencode(where), b"fuse", 0, options):
            missing(f"the right to mount FUSE ({os.strerror(ctypes.get_errno())})")
        yield
    finally:
        os.close(fd)  # ends the connection: a waiting process gets ENOTCONN
        subprocess.run(["umount", "--lazy", where], check=False)


def arrives(source, copy, name):
    (source / name).write_text(name)
    wait_for((copy / name).exists, f"{name} below {copy}", FOREVER)


@pytest.mark.parametrize("mounted", ["before the start", "while it runs"])
def test_a_mount_that_hangs_holds_up_nothing_else(make, fleet, mounted):
    server = fleet.add("hung", "127.0.2.77")
    backend = make([server])
    other, target = backend.directory / "other", fleet.root / f"{backend.directory.name}-other"
    other.mkdir()
    (backend.source / "media").mkdir()
    (backend.source / "shop").mkdir()
    backend.more_trees = [{"source": str(other), "target": str(target)}]
    backend.configure()
    with contextlib.ExitStack() as stack:
        if mounted == "before the start":
            stack.enter_context(hung(backend.source / "media"))
        backend.start()
        first, second = backend.copy(server), fleet.copy(server, target)
        arrives(other, second, "other 1")
        arrives(backend.source, first, "first 1")
        if mounted == "while it runs":
            stack.enter_context(hung(backend.source / "media"))
        wait_for(
            lambda: "does not answer" in json.dumps(backend.status()["trees"][0]["problems"]),
            lambda: json.dumps(backend.status(), indent=1),
            FOREVER,
        )
        for number in range(2, 5):
            arrives(other, second, f"other {number}")
            arrives(backend.source, first, f"first {number}")
            arrives(backend.source / "shop", first / "shop", f"deep {number}")
        backend.daemon.send_signal(signal.SIGTERM)
        assert backend.daemon.wait(30) == 0  # 10 are promised, of which it may send for 8
