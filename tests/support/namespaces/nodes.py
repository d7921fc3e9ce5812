"""Containers: processes in namespaces of their own. A record of each is a file, because every command is a process that ends."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support.namespaces import network
from tests.support.namespaces.images import ENTER
from tests.support.namespaces.store import STORE


@dataclass
class Node:
    """One container of a project, running or not."""

    project: str
    service: str
    number: int
    digest: str
    """Of all that it was made from: a node with another one is replaced."""
    lower: str
    environment: dict[str, str]
    directory: str
    command: list[str]
    binds: list[str]
    grace: float
    host: str = ""
    process: int = 0
    """Process 1 of the namespaces, as this machine numbers it; with `born`, when it was started: numbers come again."""
    born: str = ""

    @property
    def name(self):
        return f"{self.project}-{self.service}-{self.number}"

    @property
    def place(self):
        return STORE / "projects" / self.project / self.name

    @property
    def alive(self):
        return bool(self.process) and _born(self.process) == self.born

    def save(self):
        self.place.mkdir(parents=True, exist_ok=True)
        new = self.place / "record.new"
        new.write_text(json.dumps(asdict(self)))
        new.rename(self.place / "record")

    def start(self):
        for name in ("upper/etc", "work", "root"):
            (self.place / name).mkdir(parents=True, exist_ok=True)
        address = network.address(self.project, self.service, self.number)
        host = self.host or self.name
        (self.place / "upper/etc/hosts").write_text(f"127.0.0.1 localhost\n{address} {host}\n")
        (self.place / "upper/etc/resolv.conf").unlink(missing_ok=True)
        (self.place / "upper/etc/resolv.conf").write_text(f"nameserver {network.resolver(self.project)}\n")  # fmt: skip
        known = {
            "LOWER": self.lower, "UPPER": self.place / "upper", "WORK": self.place / "work", "ROOT": self.place / "root",
            "BINDS": "".join(f"{line}\n" for line in self.binds), "HOST": host, "DIRECTORY": self.directory,
        }  # fmt: skip
        with (self.place / "log").open("ab") as log:
            outer = subprocess.Popen(
                ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child=KILL", "bash", ENTER,
                 *(f"{key}={value}" for key, value in self.environment.items()), *self.command],
                env={**os.environ, **{key: str(value) for key, value in known.items()}},
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.process = _child(outer)
        self.born = _born(self.process)
        network.attach(self.process, self.project, address)
        outer.stdin.write(b"\n")
        outer.stdin.close()
        self.save()

    def signal(self, number):
        """Send a signal to process 1; SIGSTOP and SIGCONT to all processes."""
        if number in (signal.SIGSTOP, signal.SIGCONT):
            for process in self._processes():
                _send(process, number)
        elif self.alive:
            _send(self.process, number)

    def wait(self, seconds):
        """Wait until it has ended; kill it after so many seconds."""
        deadline = time.monotonic() + seconds
        while self.alive:
            if time.monotonic() > deadline:
                self.signal(signal.SIGKILL)
            time.sleep(0.02)

    def remove(self):
        shutil.rmtree(self.place)

    def entering(self):
        """Return the beginning of a command that runs in the node."""
        known = [f"{key}={value}" for key, value in self.environment.items()]
        enter = ["nsenter", f"--target={self.process}", "--net", "--mount", "--pid", "--uts", "--ipc", "--root", "--wd"]  # fmt: skip
        return [*enter, "env", "-i", f"--chdir={self.directory}", *known]

    def _processes(self):
        mine = os.readlink(f"/proc/{self.process}/ns/pid")
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and os.readlink(entry / "ns/pid") == mine:
                    yield int(entry.name)


def nodes(project, *, service=None, number=None, stopped=False):
    """Return the nodes of a project, by service and number."""
    found = []
    for record in (STORE / "projects" / project).glob("*/record"):
        node = Node(**json.loads(record.read_text()))
        wanted = service in (None, node.service) and number in (None, node.number)
        if wanted and (stopped or node.alive):
            found.append(node)
    return sorted(found, key=lambda node: (node.service, node.number))


def named(name):
    """Return the node of this name."""
    for record in (STORE / "projects").glob(f"*/{name}/record"):
        return Node(**json.loads(record.read_text()))
    raise SystemExit(f"no such container: {name}")


def publish(project):
    """Let the project's name server know the nodes that run."""
    running = nodes(project)
    network.publish(project, [(n.name, n.service, network.address(project, n.service, n.number)) for n in running])  # fmt: skip


def _send(process, number):
    """Send a signal to a process, unless it ends at this moment."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _born(process):
    """Return when a process was started (proc(5), starttime); empty if it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _child(outer):
    listed = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    while outer.poll() is None:
        if found := listed.read_text().split():
            return int(found[0])
        time.sleep(0.005)
    raise SystemExit(f"unshare ended with {outer.returncode}")
