"""Run `deploy/local` as a user does: start it, use it, remove it. With a docker engine, or with namespaces where none can be started."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from tests.support import PROJECT
from tests.support.namespaces.store import STORE
from tests.support.web import Visitor

COMMANDS = PROJECT / "deploy" / "local"
NEEDED = ("dnsmasq", "ip", "nsenter", "socat", "unshare")


def lacking():
    """Return why containers cannot be made of namespaces here; empty if they can."""
    if os.geteuid():
        return "needs root"
    if programs := [name for name in NEEDED if not shutil.which(name)]:
        return f"needs {', '.join(programs)}"
    release = Path("/etc/debian_version")
    if not release.exists() or not release.read_text().startswith("12"):
        return "needs Debian 12"
    done = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], check=False, capture_output=True, text=True)  # fmt: skip
    return done.stderr.strip()


class Local:
    """One site on this machine, in its own compose project.

    Args:
        engine: "docker", or "namespaces": then the commands find `tests.support.namespaces` under the name `docker`.
    """

    def __init__(self, state, engine="docker", **settings):
        self.state = state
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": "replicator-local-test",
            "STATE": str(state),
            "PORT": str(self.port),
        }
        for key in ("CMS", "APP", "SESSION", "FRONTENDS", "EFS"):
            self._environment.pop(key, None)
        self._settings = settings
        if engine == "namespaces":
            program = state / "bin" / "docker"
            program.parent.mkdir()
            program.write_text(
                f'#!/bin/sh\nexec "{sys.executable}" -P -m tests.support.namespaces "$@"\n'
            )
            program.chmod(0o755)
            more = {"PYTHONPATH": str(PROJECT), "NAMESPACES_STORE": str(STORE)}
            self._environment |= {**more, "PATH": f"{program.parent}:{os.environ['PATH']}"}

    def call(self, command, *arguments, check=True, **settings):
        """Run one command of deploy/local; return what it printed."""
        done = self._run(command, *arguments, **settings)
        assert not check or done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"  # fmt: skip
        return done.stdout

    def fails(self, command, *arguments, **settings):
        """Run a command that must fail; return its error output."""
        done = self._run(command, *arguments, **settings)
        assert done.returncode, done.stdout
        return done.stderr

    def _run(self, command, *arguments, **settings):
        return subprocess.run(
            [COMMANDS / command, *arguments],
            env={**self._environment, **settings},
            stdin=subprocess.DEVNULL,
            check=False, capture_output=True, text=True, errors="replace", timeout=800,
        )  # fmt: skip

    def up(self, **settings):
        self._settings |= settings
        return self.call("up", **self._settings)

    def on(self, node, script, **more):
        """Run a shell script on a node."""
        return self.call("exec", node, "sh", "-c", script, **more)

    def put(self, path, text):
        """Publish a file of the document root on the backend, as PHP would."""
        done = subprocess.run(
            [COMMANDS / "exec", "backend", "runuser", "-u", "www-data", "--", "sh", "-c", f"umask 022; cat >/var/www/html/{path}"],
            env=self._environment, input=text.encode(), check=False, capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def php(self, code):
        """Run PHP on the backend as the web server's account."""
        done = subprocess.run(
            [COMMANDS / "exec", "backend", "runuser", "-u", "www-data", "--", "php"],
            env=self._environment, input=f"<?php {code}".encode(), check=False, capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout.decode()

    def signal(self, node, action):
        """Run `docker kill`, `start`, `pause` or `unpause` on a node, to simulate a crash, a hang or a recovery."""
        label = "label=com.docker.compose"
        service, _, number = node.partition("-")
        names = ["docker", "ps", "-a", "-q", "--filter", f"{label}.project=replicator-local-test"]
        names += ["--filter", f"{label}.service={service}", "--filter", f"{label}.container-number={number or 1}"]  # fmt: skip
        known = self._environment
        found = subprocess.run(names, env=known, check=True, capture_output=True, text=True).stdout.split()  # fmt: skip
        subprocess.run(["docker", action, *found], env=known, check=True, capture_output=True)

    @property
    def nodes(self):
        """Return the address of each node by its name, from the output of `status`."""
        printed = self.call("status", check=False)
        return dict(re.findall(r"^([a-z]+(?:-\d+)?) +([0-9.]+) ", printed, re.MULTILINE))

    @property
    def frontends(self):
        return {name: where for name, where in self.nodes.items() if name.startswith("frontend-")}

    @property
    def password(self):
        return (self.state / "secrets" / "admin").read_text()

    def visitor(self):
        """Return a new browser that talks to the router."""
        return Visitor("127.0.0.1", self.port)

    def alone(self):
        """Return a new browser for each frontend, by the frontend's name."""
        router = self.visitor()
        return {name: router.at(where) for name, where in self.frontends.items()}
