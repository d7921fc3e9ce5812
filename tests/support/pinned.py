"""A pinned agent in a child process, and a world around it in which nothing may change."""

import hashlib
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

from replicator.wire import frames, messages
from replicator.wire.changes import PutFile
from replicator.wire.messages import Hello, OpenTree

AGENT = "import sys\nfrom replicator.agent import main, sandbox\n{prelude}\nsys.exit(main.main(['--root', *sys.argv[1:]]))"
OPEN = "sandbox.restrict = lambda jail: 'open'"
"""A prelude that leaves the sandbox out: what is held then is held by the agent's own walk."""
HELLO = b"hello"
DIGEST = hashlib.sha256(HELLO).digest()
TIME = 1_500_000_000_123_456_789
MOST_MEMORY = 64 << 20
"""Bytes that an agent may ever take, whatever it is sent."""


class Agent:
    """A pinned agent in a child process, and the bytes that go to it.

    Args:
        root: what it is pinned to.
        python: its interpreter.
        prelude: code that runs before the agent does.
        arguments: more of `replicator agent`.
        features: what the backend says that it can do.

    Attributes:
        about: what it said of itself.
    """

    def __init__(
        self,
        root,
        python=sys.executable,
        prelude="",
        arguments=(),
        features=messages.FEATURES,
    ):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [python, "-c", AGENT.format(prelude=prelude), str(root), *arguments],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            bufsize=0,
            cwd=Path(__file__).parents[2],
        )
        self.features = features
        self.decoder = frames.Decoder()
        self.ready = []
        try:
            self._greet()
        except BaseException:
            self.__exit__()
            raise

    def _greet(self):
        self.process.stdin.write(b"4 unused\ncode")  # streamed code that a pinned agent drops
        seen = b""
        while frames.MARKER not in seen:
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, self.process.stderr.read()
            seen += piece
        self.receive(seen.partition(frames.MARKER)[2])
        self.say(Hello(messages.VERSION, self.features))
        hello = self.hear()
        assert isinstance(hello, Hello)
        self.about = hello.about

    def say(self, message, *payload):
        self.process.stdin.write(frames.encode(message.header(), payload))

    def pour(self, data):
        """Write bytes, as many as it takes; return False if it hung up on us."""
        view = memoryview(data)
        try:
            while view:
                view = view[self.process.stdin.write(view) :]
        except BrokenPipeError:
            return False
        return True

    def hear(self):
        """Return the next message; None when the agent has ended."""
        while not self.ready:
            data = os.read(self.process.stdout.fileno(), 1 << 20)
            if not data:
                return None
            self.receive(data)
        return self.ready.pop(0)

    def receive(self, data):
        self.decoder.receive(data)
        self.ready += [messages.decode(frame.header) for frame in self.decoder.frames()]

    def answers(self, *numbers):
        """Return {number: reason, empty if done} once all `numbers` are answered; None if the agent hung up first."""
        found = {}
        while not found.keys() >= set(numbers):
            said = self.hear()
            if said is None:
                return None
            if isinstance(said, messages.Acks):
                found.update(dict.fromkeys(said.done, ""))
                found.update({number: reason for number, reason, _ in said.refused})
        return found

    def open(self, root=b"/site", tree=1, **asked):
        self.say(OpenTree(tree, root, **asked))
        return self.hear()

    def memory(self):
        """Return the most bytes that it ever took (VmHWM); 0 when it has ended, and nobody can tell any more."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        _, _, found = status.partition("VmHWM:")
        return int(found.split()[0]) << 10 if found else 0

    def end(self):
        """Hang up; return (exit status, what it printed on its error stream)."""
        self.process.stdin.close()
        rest = threading.Thread(target=self.process.stdout.read)  # it may have much to say yet
        rest.start()
        said = self.process.stderr.read().decode()
        rest.join()
        return self.process.wait(10), said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self.process:  # closes its pipes, and reaps it
            self.process.kill()


def put(path, number=1, size=5):
    return PutFile(number, 1, path, 0o644, size, TIME, DIGEST)


def picture(directory):
    """Return all that can be told of a directory and what is in it: type, mode, owner, times, content."""
    found = {}
    for path in [directory, *sorted(directory.rglob("*"))]:
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        link = os.readlink(path) if path.is_symlink() else ""
        found[str(path)] = (
            (status.st_ino, status.st_mode, status.st_uid, status.st_gid),
            (status.st_mtime_ns, status.st_ctime_ns, link, content),
        )
    return found


def make_outside(directory):
    """Make a directory that holds one of each kind; return it."""
    (directory / "dir").mkdir(parents=True)
    (directory / "canary").write_bytes(HELLO)  # what a delta, or attributes, would build on
    (directory / "dir/inner").write_text("inner")
    (directory / "link").symlink_to("canary")
    (directory / "empty").mkdir()
    for path in (directory / "canary", directory / "dir", directory):
        os.utime(path, ns=(TIME, TIME))
    return directory


def strays(directory):
    """Return the names of temporaries that are left."""
    return [str(path) for path in directory.rglob(".replicator-*")]
