"""Fuzz the agent with any input: it must stay inside its root, leave no temporary files, and answer with valid messages."""

import os
import shutil
import stat
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest import mock

from replicator.agent import digesting, listing, trees
from replicator.agent import server as serving
from replicator.agent.fencing import Fenced, FencingTokens
from replicator.errors import ProtocolError
from replicator.model import TEMPORARY_PREFIX, is_temporary
from replicator.wire.messages import (
    BeginFile,
    Data,
    Descend,
    DigestTree,
    ListTree,
    More,
    OpenTree,
    decode,
)
from tests.fuzz import mutate
from tests.fuzz.target import target
from tests.fuzz.targets import samples
from tests.fuzz.targets.wire import received

QUIET = 3
"""Number of polls between two frames that report no input, so that the agent continues a listing."""

OPEN = (samples.HI, OpenTree(1, b"/site"))
BATCH = samples.FROM_BACKEND[2], samples.HELLO


class Script:
    """Replaces the agent's poll object: delivers frames one by one, with polls without input between them."""

    def __init__(self, data):
        parts, rest = mutate.split(data)
        self._pieces = [*(mutate.frame(*part) for part in parts), rest]
        self._quiet = QUIET
        self.source, self._write = os.pipe()

    def poll(self, timeout):
        """Return the readable descriptors, as select.poll does. A poll that may wait gets the next frame, or end of file."""
        if self._quiet and not timeout:
            self._quiet -= 1
            return []
        self._quiet = QUIET
        while self._pieces and not self._pieces[0]:
            del self._pieces[0]
        if self._pieces:
            piece, self._pieces[0] = self._pieces[0][:60_000], self._pieces[0][60_000:]
            os.write(self._write, piece)
        elif self._write >= 0:
            os.close(self._write)
            self._write = -1
        return [(self.source, 1)]

    def close(self):
        """Release the pipe."""
        for fd in {self.source, self._write} - {-1}:
            os.close(fd)


@contextmanager
def world():
    """Create a jail with a small tree, and a directory outside of it; assert at the end that the latter is unchanged."""
    base = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        for name in ("jail/site/dir", "outside"):
            (base / name).mkdir(parents=True)
        for name in ("jail/site/dir/file", "outside/canary"):
            (base / name).write_bytes(samples.HELLO)
            os.utime(base / name, ns=(0, samples.TIME - 1))
        (base / "jail/site/link").symlink_to(base / "outside")
        before = picture(base)
        yield base
        assert picture(base) == before
    finally:
        for top, below, _ in os.walk(base):
            for name in below:
                path = os.path.join(top, name)
                if not os.path.islink(path):
                    os.chmod(path, stat.S_IRWXU)  # otherwise only root could remove it
        shutil.rmtree(base)


def picture(base):
    """Return names, modes, owners and ctimes outside of the jail; every change updates a ctime."""
    found = [sorted(os.listdir(base)), os.listdir(base / "outside")]
    for path in (base / "outside", base / "outside/canary"):
        status = os.lstat(path)
        found += [status.st_mode, status.st_uid, status.st_gid, status.st_ctime_ns]
    return found


@target(
    samples.stream(*OPEN, BATCH),
    samples.stream(*OPEN, samples.FROM_BACKEND[3], (Data(9, [[-1, 5]], end=True), samples.HELLO)),
    samples.stream(
        *OPEN,
        BeginFile(samples.put(b"dir/file", 9), delta=True),
        Data(9, [[0, 3]]),
        Data(9, [[3, 2]], end=True),
    ),
    samples.stream(*OPEN, BeginFile(samples.put(b"x", 9), delta=False), Data(9, [], cancel=True)),
    samples.stream(*OPEN, ListTree(1, 1, b"", digest=True, credit=1), More(1, 1), More(1, 0)),
    samples.stream(*OPEN, ListTree(2, 1, b"dir", digest=False, credit=0), More(2, 9)),
    samples.stream(
        *OPEN,
        DigestTree(1, 1, b"", 0o777, 2, (b"dir/file",)),
        Descend(1, (b"",), ()),
        Descend(1, (), (b"dir",)),
        ListTree(2, 1, b"", digest=False, credit=2, walk=1),
    ),
    samples.stream(
        *OPEN, DigestTree(1, 1, b"", 0, 1), BATCH, More(1, 1), ListTree(2, 1, b"", False, 9, walk=1)
    ),
    samples.stream(*OPEN, OpenTree(2, b"/site/dir", "0:0", setid=True), OpenTree(1, b"/other")),
    samples.stream(*OPEN, BATCH, ListTree(1, 1, b"dir", digest=False, credit=2), BATCH),
    mutate=mutate.frames,
    limit=8192,
    effort=100,
)
def agent(data):
    """Raise nothing; catches ProtocolError and Fenced. Assert that no descriptor or temporary is left, and all output is valid."""
    held = len(os.listdir("/proc/self/fd"))
    with world() as base:
        sent = _serve(data, base / "jail")
        left = [name for _, _, files in os.walk(os.fsencode(base)) for name in files]
        if (
            TEMPORARY_PREFIX not in data
        ):  # otherwise a change may have created a file of such a name
            assert not any(map(is_temporary, left))
    found, broken = received([sent])
    assert not broken
    for frame in found:
        decode(frame.header)
    assert len(os.listdir("/proc/self/fd")) == held


def _serve(data, jail):
    """Run an agent; return its output, and close the descriptors that it would keep until its process ends."""
    script, sink, tokens = Script(data), os.memfd_create("said"), []

    def make(*lineage):
        tokens.append(FencingTokens(*lineage))
        return tokens[-1]

    small = mock.patch.object(listing, "LINES", 1), mock.patch.object(digesting, "STEP", 1)
    with mock.patch.object(trees, "FencingTokens", make), small[0], small[1]:
        server = serving.Server(script.source, sink, session=b"fuzz", pin_root=os.fsencode(jail))
        server._arrived = script
        with suppress(ProtocolError, Fenced):
            server.run()
    server._jobs.drop()  # an unfinished listing holds open directories
    for token in [token for each in tokens for token in each._made.values()]:
        if token._fd >= 0:
            os.close(token._fd)
    script.close()
    with open(sink, "rb") as file:
        file.seek(0)
        return file.read()
