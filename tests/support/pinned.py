"""A pinned agent in a child process, and a directory outside of its root in which nothing may change."""

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
OPEN = "sandbox.restrict = lambda jail, connects: 'open'"
"""Prelude that disables the sandbox, so that a test shows that the agent's path resolution alone confines it."""
HELLO = b"hello"
DIGEST = hashlib.sha256(HELLO).digest()
TIME = 1_500_000_000_123_456_789
MOST_MEMORY = 64 << 20
"""Limit of an agent's memory in bytes, for any input."""


class Agent:
    """A pinned agent in a child process, with the backend's end of its pipes.

    Args:
        root: directory to which it is pinned.
        python: its interpreter.
        prelude: code that runs before the agent.
        arguments: additional arguments of `replicator agent`.
        features: features that the backend offers in its `hello`.

    Attributes:
        about: description of itself from its `hello`.
        offered: features in its `hello`.
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
            self._exchange_hello()
        except BaseException:
            self.__exit__()
            raise

    def _exchange_hello(self):
        self.process.stdin.write(b"4 unused\ncode")  # streamed code that a pinned agent drops
        seen = b""
        while frames.MARKER not in seen:
            piece = os.read(self.process.stdout.fileno(), 65536)
            assert piece, self.process.stderr.read()
            seen += piece
        self.receive(seen.partition(frames.MARKER)[2])
        self.send(Hello(messages.VERSION, self.features))
        hello = self.hear()
        assert isinstance(hello, Hello)
        self.about, self.offered = hello.about, hello.features

    def send(self, message, *payload):
        self.process.stdin.write(frames.encode(message.header(), payload))

    def pour(self, data):
        """Write all bytes; return False if the agent closed the connection."""
        view = memoryview(data)
        try:
            while view:
                view = view[self.process.stdin.write(view) :]
        except BrokenPipeError:
            return False
        return True

    def hear(self):
        """Return the agent's next message; None if the agent has ended."""
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
        """Return {number: reason, empty if done} when all `numbers` are answered; None if the agent ended before."""
        found = {}
        while not found.keys() >= set(numbers):
            received = self.hear()
            if received is None:
                return None
            if isinstance(received, messages.Acks):
                found.update(dict.fromkeys(received.done, ""))
                found.update({number: reason for number, reason, _ in received.refused})
        return found

    def open(self, root=b"/site", tree=1, **asked):
        self.send(OpenTree(tree, root, **asked))
        return self.hear()

    def memory(self):
        """Return its peak memory in bytes (VmHWM); 0 if it has ended."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        _, _, found = status.partition("VmHWM:")
        return int(found.split()[0]) << 10 if found else 0

    def end(self):
        """Close its standard input; return (exit status, error output)."""
        self.process.stdin.close()
        rest = threading.Thread(
            target=self.process.stdout.read
        )  # it may block on unread output otherwise
        rest.start()
        received = self.process.stderr.read().decode()
        rest.join()
        return self.process.wait(10), received

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self.process:  # closes its pipes, and reaps it
            self.process.kill()


def put(path, number=1, size=5):
    return PutFile(number, 1, path, 0o644, size, TIME, DIGEST)


def picture(directory):
    """Return type, mode, owner, times and content of a directory and everything below it."""
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
    """Create a directory with a file, a directory and a symlink; return it."""
    (directory / "dir").mkdir(parents=True)
    (directory / "canary").write_bytes(HELLO)  # a possible base of a delta, or target of attributes
    (directory / "dir/inner").write_text("inner")
    (directory / "link").symlink_to("canary")
    (directory / "empty").mkdir()
    for path in (directory / "canary", directory / "dir", directory):
        os.utime(path, ns=(TIME, TIME))
    return directory


def strays(directory):
    """Return the paths of leftover temporaries."""
    return [str(path) for path in directory.rglob(".replicator-*")]
