"""Faults of a backend, three frontends and their connections. Each fault is repaired before its method returns."""

import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

from tests.support.waiting import wait_for

STOP = 30.0
"""Seconds within which the daemon must end. It promises 10, of which it may send for 8; a busy machine needs more than the rest."""


class Faults:
    """Causes one fault at a time, chosen at random from a seed.

    Args:
        backend: the daemon, a `tests.support.daemon.Backend`.
        busy: a lock that the workload holds during each step; held here while the source is missing.
        seed: seed of the choices.
        spare: True to never end the daemon, so that its memory can be followed over the whole run.

    Attributes:
        counts: number of faults by name.
        complaints: violations that the faults themselves found.
    """

    def __init__(self, backend, busy, seed: int, *, spare: bool = False) -> None:
        self._backend = backend
        self._busy = busy
        self._random = random.Random(seed)
        self.counts: dict[str, int] = {}
        self.complaints: list[str] = []
        # Weights. Faults that end the daemon are rare, so that it runs long enough to show a growth of memory.
        self._kinds = {
            self.kill_agent: 8,
            self.cut: 4,
            self.freeze_agent: 4,
            self.freeze_server: 2,
            self.stop_server: 2,
            self.kill_daemon: 2,
            self.reload: 2,
            self.source_away: 1,
            self.restart_daemon: 1,
            self.lose_catalog: 1,
        }
        if spare:
            for kind in (self.kill_daemon, self.restart_daemon, self.lose_catalog):
                del self._kinds[kind]

    def one(self, *, keep_catalog: bool = False) -> str:
        """Cause one random fault and return its name; with `keep_catalog`, never `lose_catalog`."""
        kinds = {k: n for k, n in self._kinds.items() if not keep_catalog or k != self.lose_catalog}
        return self.do(self._random.choices(list(kinds), kinds.values())[0])

    def all(self):
        """Cause each fault once."""
        for kind in self._kinds:
            self.do(kind)

    def do(self, kind) -> str:
        """Cause the given fault, count it, and return its name."""
        kind()
        name = kind.__name__.replace("_", " ")
        self.counts[name] = self.counts.get(name, 0) + 1
        return name

    def _server(self):
        return self._random.choice(self._backend.servers)

    def _agents(self, server) -> list[int]:
        found = []
        for pid in server.sessions():
            with suppress(OSError):
                if b"python" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
                    found.append(pid)
        return found

    def kill_agent(self):
        for pid in self._agents(self._server()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def cut(self):
        self._server().cut()

    def freeze_agent(self):
        """Stop an agent for 0.2 to 6 s. If the daemon's timeout (2 s) is shorter, two agents exist for one tree afterwards."""
        agents = self._agents(self._server())
        try:
            for pid in agents:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            time.sleep(self._random.uniform(0.2, 6))
        finally:
            for pid in agents:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def freeze_server(self):
        with self._server().frozen():
            time.sleep(self._random.uniform(0.2, 6))

    def stop_server(self):
        server = self._server()
        server.stop()
        time.sleep(self._random.uniform(0, 2))
        server.start()

    def kill_daemon(self):
        self._backend.kill()
        self._backend.start()

    def restart_daemon(self):
        begun = time.monotonic()
        status = self._backend.stop()
        took = time.monotonic() - begun
        if status != 0 or took > STOP:
            self.complaints.append(f"SIGTERM: exit status {status} after {took:.1f} s")
        self._backend.start()

    def reload(self):
        """Remove one frontend from the configuration, and add it again."""
        servers = self._backend.servers
        left_out = self._server()
        for member_set in ([s for s in servers if s is not left_out], servers):
            self._backend.configure(servers=member_set)
            self._backend.daemon.send_signal(signal.SIGHUP)
            self._until_frontends(len(member_set))

    def _until_frontends(self, wanted):
        wait_for(lambda: len(self._backend.status()["frontends"]) == wanted, "the daemon to reload")

    def source_away(self):
        """Rename the source away and back. The tree must halt and recover; readers notice if anything is deleted."""
        source = self._backend.source
        with self._busy:
            source.rename(source.with_name("away"))
            try:
                wait_for(
                    lambda: self._backend.status()["trees"][0]["state"] != "watching",
                    lambda: f"the tree to be halted: {self._backend.status()['trees']}",
                )
            finally:
                source.with_name("away").rename(source)
            wait_for(
                lambda: self._backend.status()["trees"][0]["state"] == "watching",
                lambda: f"the tree to be watched again: {self._backend.status()['trees']}",
                60,
            )

    def lose_catalog(self):
        """Delete or damage the catalog after a crash of the daemon, which must rebuild it."""
        self._backend.kill()
        for path in self._backend.state.glob("*.sqlite*"):
            if self._random.random() < 0.5:
                path.unlink()
            else:
                with path.open("r+b") as file:
                    file.seek(shutil.os.path.getsize(path) // 2)
                    file.write(self._random.randbytes(5000))
        self._backend.start()
