"""`docker compose` for one project: build, up with --scale, down. It supports the part of the format that `deploy/local` uses."""

import hashlib
import json
import os
import re
import shutil
import signal
from pathlib import Path

import yaml

from tests.support.namespaces import network
from tests.support.namespaces.images import build
from tests.support.namespaces.nodes import Node, nodes, publish
from tests.support.namespaces.store import STORE

VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


class Project:
    """A project and the services of its compose files."""

    def __init__(self, files):
        self.name = os.environ["COMPOSE_PROJECT_NAME"]
        self._directory = files[0].parent
        self._services = {}
        for file in files:
            for service, settings in yaml.safe_load(_filled(file.read_text()))["services"].items():
                _merge(self._services.setdefault(service, {}), settings)
        self._place = STORE / "projects" / self.name

    def build(self):
        for service in self._services:
            self._image(service)

    def up(self, scale, only=(), *, recreate=True):
        """Start what does not run, replace what has changed, and remove nodes beyond the wanted number."""
        network.create(self.name)
        for service in only or self._in_order():
            wanted = scale.get(service, 1)
            self._stop(nodes(self.name, service=service, stopped=True)[wanted:], None)
            for number in range(1, wanted + 1):
                self._one(service, number, recreate=recreate)
            publish(self.name)

    def down(self, seconds, *, volumes):
        self._stop(nodes(self.name, stopped=True), seconds)
        network.remove(self.name)
        shutil.rmtree(self._place) if volumes else None

    def _one(self, service, number, *, recreate):
        settings = self._services[service]
        image = self._image(service)
        environment = {**image.environment, **{k: str(v or "") for k, v in settings.get("environment", {}).items()}}  # fmt: skip
        binds = [self._bind(text) for text in settings.get("volumes", [])]
        grace = float(str(settings.get("stop_grace_period", "10s")).rstrip("s"))
        made = [image.layers, environment, binds, image.command]
        digest = hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()
        host = settings.get("hostname", "")
        node = Node(self.name, service, number, digest, image.lower, environment, image.directory, list(image.command), binds, grace, host)  # fmt: skip
        for old in nodes(self.name, service=service, number=number, stopped=True):
            if recreate and old.digest != digest:
                self._stop([old], None)
            else:
                node = old
        if not node.alive:
            node.start()
            for text in settings.get("ports", []):
                where, _, port = text.rpartition(":")
                network.forward(self.name, where, f"{network.address(self.name, service, number)}:{port}")  # fmt: skip

    def _stop(self, old, seconds):
        for node in old:
            node.signal(signal.SIGTERM)
        for node in old:
            node.wait(node.grace if seconds is None else seconds)
            node.remove()
        publish(self.name)

    def _image(self, service):
        made = self._services[service]["build"]
        context = (self._directory / made["context"]).resolve()
        return build(context / made["dockerfile"], context, made["target"], made["args"])

    def _bind(self, text):
        source, target, *mode = text.split(":")
        if not source.startswith(("/", ".")):
            source = str(self._place / "volumes" / source)
            Path(source).mkdir(parents=True, exist_ok=True)
        return f"{(self._directory / source).resolve()} {target} {(mode or ['rw'])[0]}"

    def _in_order(self):
        """Return the services so that each comes after those that it depends on."""
        order = []

        def visit(service):
            for needed in self._services[service].get("depends_on", ()):
                visit(needed)
            if service not in order:
                order.append(service)

        for service in self._services:
            visit(service)
        return order


def _filled(text):
    """Replace ${NAME}, ${NAME:-default} and ${NAME:?error}."""

    def value(found):
        name, kind, rest = found.groups()
        if os.environ.get(name):
            return os.environ[name]
        if kind == "?":
            raise SystemExit(f"{name} is not set: {rest}")
        return rest or ""

    return VARIABLE.sub(value, text)


def _merge(into, more):
    """Add the settings of an overlay file; a volume replaces one with the same target."""
    for key, value in more.items():
        if key == "volumes":
            rows = {row.split(":")[1]: row for row in [*into.get(key, ()), *value]}
            into[key] = list(rows.values())
        elif isinstance(value, dict):
            into[key] = {**into.get(key, {}), **value}
        else:
            into[key] = value
