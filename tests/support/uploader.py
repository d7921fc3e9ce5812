"""Changes by a user who may write in the tree, and queries of a test meanwhile."""

import ctypes
import os
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path

from tests.support import PROJECT
from tests.support.looking import temporaries_below
from tests.support.tools import missing
from tests.support.waiting import wait_for

AT_FDCWD, RENAME_EXCHANGE = -100, 2


def exchange(one, two):
    """Swap two names atomically with renameat2(2); skip the test where the kernel or file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        missing("renameat2")
    done = renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(two), RENAME_EXCHANGE)
    if done:
        raise OSError(ctypes.get_errno(), "renameat2")


@contextmanager
def in_a_loop(directory, code):
    """Run `code` repeatedly in a child process in `directory`; assert at the end that it ran at least 100 times."""
    script = (
        f"import os, sys, time, random; sys.path.insert(0, {str(PROJECT)!r})\n"
        "from tests.support.uploader import exchange\nturns = 0\nprint('ready', flush=True)\n"
        f"while not os.path.exists('.stop'):\n{textwrap.indent(textwrap.dedent(code), '    ')}\n    turns += 1\n"
        "print(turns)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=directory, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout.readline() == "ready\n"
            yield
        finally:
            stop = Path(directory, ".stop")
            stop.touch()
            try:
                turns = int(child.communicate(timeout=60)[0])
            except subprocess.TimeoutExpired:
                child.kill()
                raise
            stop.unlink()
    assert child.returncode == 0
    assert turns > 100, turns


def upload(backend, name, content=b"an upload"):
    """Write a file and return the seconds until all frontends have it."""
    began = time.monotonic()
    (backend.source / name).write_bytes(content)

    def arrived():
        copies = [backend.site(host) / name for host in backend.hosts]
        return all(copy.exists() and copy.read_bytes() == content for copy in copies)

    wait_for(arrived, lambda: f"{name}: {backend.explain()[:3000]}")
    return time.monotonic() - began


def intake_of(backend):
    (pipeline,) = backend.app.service.pipelines.values()
    return pipeline


def catalog_of(backend):
    """Return all records of the only tree, by path."""
    catalog = intake_of(backend).tree.catalog
    return catalog.get(catalog.below(b""))


def temporaries(backend):
    """Return replicator's temporary files on all frontends."""
    return [path for h in backend.hosts for path in temporaries_below(backend.connector.root(h))]
