"""The daemon as a process with a configuration file, and real OpenSSH servers as frontends.

As root, each server runs in its own mount namespace, so that the same target path is another directory on each, as on separate
machines. Otherwise a forced command gives each server its own root directory.
"""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

from replicator.control import client
from replicator.demo.trees import difference, fingerprint
from replicator.errors import ControlError
from tests.support.sshd import Keys, Sshd, find_sshd
from tests.support.waiting import FOREVER, wait_for

USER = "root" if os.geteuid() == 0 else ""


class Fleet:
    """SSH servers; the logins of each see different content below the same directory."""

    def __init__(self, directory: Path) -> None:
        find_sshd()
        self.directory = directory
        self.keys = Keys(directory / "keys")
        self.root = directory / "www"
        self.root.mkdir()
        self.namespaces = os.geteuid() == 0
        self._stack = contextlib.ExitStack()

    def add(self, name, address, **options):
        world = self.directory / f"world-{name}"
        world.mkdir(exist_ok=True)
        if self.namespaces and not {"forced_command", "tmpfs"} & options.keys():
            options["binds"] = {self.root: world}
        elif "forced_command" not in options and "tmpfs" not in options:
            options["forced_command"] = pinned(world)
        server = Sshd(self.directory / name, keys=self.keys, address=address, **options)
        return self._stack.enter_context(server)

    def close(self):
        self._stack.close()

    def copy(self, server, target):
        """Return the path at which this process sees a server's copy of a target."""
        if self.namespaces:
            return server.see(target)
        return self.directory / f"world-{server.directory.name}" / str(target).lstrip("/")


def pinned(root):
    return f"{sys.executable} -m replicator agent --root {root}"


class Backend:
    """A source tree, a configuration file, the daemon as a subprocess, and the command line.

    Attributes:
        tables: additional settings for `configure`: {table: {key: value}}.
        tree: additional settings of the first tree: {key: value}.
        more_trees: settings of further trees.
        env: additional environment variables for daemon and commands.
    """

    def __init__(self, directory, fleet, servers) -> None:
        self.directory = directory
        self.fleet = fleet
        self.servers = list(servers)
        self.source = directory / "source"
        self.source.mkdir()
        self.target = fleet.root / directory.name
        self.config = directory / "replicator.toml"
        self.log = directory / "daemon.log"
        self.daemon = None
        self.tables = {}
        self.tree = {}
        self.more_trees = []
        self.env = {}
        self.configure()

    @property
    def state(self):
        return self.directory / self.tables.get("state", {}).get("directory", "state")

    def configure(self, *more, servers=None, **ssh):
        """Write the configuration; `more` are frontends in addition to the servers."""
        servers = self.servers if servers is None else servers
        frontends = [server.frontend for server in servers] + list(more)
        self.known_hosts(self.servers)
        tables = {
            "discovery": {"frontends": frontends},
            "ssh": {
                "user": USER,
                "identity": str(self.fleet.keys.identity),
                "known_hosts": "known_hosts",
                "connect_timeout": 10.0,
                **ssh,
            },
            "settle": {"cooldown": 0.05, "max_wait": 1.0},
            "retry": {"first": 0.1, "cap": 0.5},
            "state": {"directory": "state"},
        }
        for name, extra in self.tables.items():
            tables[name] = tables.get(name, {}) | extra
        tree = {"source": "source", "target": str(self.target), **self.tree}
        text = "".join(
            "\n".join(
                [head, *(f"{name} = {json.dumps(value)}" for name, value in values.items()), ""]
            )
            for head, values in [
                *(("[[tree]]", each) for each in (tree, *self.more_trees)),
                *((f"\n[{n}]", v) for n, v in tables.items()),
            ]
        )
        self.config.write_text(text)

    def known_hosts(self, servers):
        text = "".join(server.known_hosts_line() for server in servers)
        (self.directory / "known_hosts").write_text(text)

    def command(self, *arguments):
        return [sys.executable, "-m", "replicator", *arguments, "--config", str(self.config)]

    def start(self, wrapper=(), **options):
        """Start the daemon, optionally through a wrapper command; return when it answers."""
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(
                [*wrapper, *self.command("serve")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env},
                **options,
            )
        wait_for(self.status, lambda: f"the daemon: {self.log.read_text()[-2000:]}")
        return self

    def run(self, *arguments, seconds=FOREVER):
        """Run another command of replicator until it ends."""
        return subprocess.run(
            self.command(*arguments),
            check=False,
            capture_output=True,
            text=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self.env},
        )

    def ok_status(self, *options):
        """Wait until `status` exits 0; return what it printed.

        A path whose name or mode has just changed is pending once more for some milliseconds, about a second after it has arrived: its
        record is confirmed then, and the ctime differs.
        """
        done = []

        def is_ok():
            done.append(self.run("status", *options))
            return done[-1].returncode == 0

        wait_for(is_ok, lambda: done[-1].stdout)
        return done[-1].stdout

    def status(self):
        """Return the status; None while the daemon does not answer."""
        assert self.daemon.poll() is None, f"the daemon ended: {self.log.read_text()[-3000:]}"
        try:
            return next(client.ask(self.state / "control.sock", {"command": "status"}), None)
        except (FileNotFoundError, ConnectionRefusedError, ControlError):
            return None

    def row(self, server):
        host = getattr(server, "address", server)
        port = getattr(server, "port", None)
        return next(
            row
            for row in self.status()["frontends"]
            if row["host"] == host and port in (None, row["port"])
        )

    def copy(self, server):
        return self.fleet.copy(server, self.target)

    def differences(self, servers=None):
        return {
            server.address: found
            for server in servers or self.servers
            if (found := difference(self.source, self.copy(server)))
        }

    def quiet(self, servers=None, *, halted=()):
        """Return True if no change is queued at the backend or pending for these servers.

        A tree whose source is in `halted` may be in any state. Then frontends may also be halted or degraded with
        pending paths, because the status does not show to which tree these belong.
        """
        fine = {"live", "halted", "degraded"} if halted else {"live"}
        status = self.status()
        if status is None:
            return False
        wanted = {(s.address, s.port) for s in servers or self.servers}
        rows = [r for r in status["frontends"] if (r["host"], r["port"]) in wanted]
        return (
            len(rows) == len(wanted)
            and all(row["state"] in fine and (halted or row["dirty"] == 0) for row in rows)
            and all(
                t["state"] == "watching" and not t["pending"]
                for t in status["trees"]
                if t["source"] not in halted
            )
        )

    def wait_until_equal(
        self, servers=None, seconds=FOREVER, *, halted=(), ignored=lambda path: False
    ):
        """Wait until the copies equal the source, but for paths (str) of the source for which `ignored` returns True."""

        def equal():
            found = self.differences(servers).values()
            return all(ignored(path) for paths in found for path in paths)

        wait_for(
            lambda: self.quiet(servers, halted=halted) and equal(),
            lambda: self.explain(servers),
            seconds,
            pause=0.03,
        )

    def explain(self, servers=None):
        """Return the differences between the source and each frontend as text."""
        source, lines = fingerprint(self.source), []
        for server in servers or self.servers:
            there = fingerprint(self.copy(server))
            lines += [
                f"{server.address} {path!r}: {source.get(path)}, {there.get(path)}"
                for path in difference(self.source, self.copy(server))
            ]
        return "\n".join([*lines, json.dumps(self.status(), indent=1)])

    def fill(self, files=60):
        """Create a small site with random content in the source."""
        rng = random.Random(self.directory.name)
        for number in range(files):
            path = self.source / f"d{number % 7}" / f"e{number % 3}" / f"file-{number}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(rng.randbytes(rng.choice([0, 10, 3000, 90_000])))
        (self.source / "big.bin").write_bytes(rng.randbytes(3 << 20))
        (self.source / "link").symlink_to("d0/e0")
        (self.source / "empty").mkdir()

    def stop(self):
        """End the daemon with SIGTERM, as a service manager does; return its exit status."""
        if self.daemon is None or self.daemon.poll() is not None:
            return None
        self.daemon.send_signal(signal.SIGTERM)
        return self.daemon.wait(30)  # 10 are promised, of which it may send for 8

    def kill(self):
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
            self.daemon = None


def without_progress(text):
    """Return what a bootstrap wrote to standard error, without its progress: a line every few seconds on a busy machine."""
    return "".join(
        line
        for line in text.splitlines(keepends=True)
        if not re.search(r" \d+ of \d+ files, ", line)
    )


def one_line(text):
    """Return True if a text is exactly one line and not a traceback."""
    return text.count("\n") == 1 and text.endswith("\n") and "Traceback" not in text
