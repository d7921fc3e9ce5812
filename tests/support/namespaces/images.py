"""Build the images of a Dockerfile: each instruction that changes files makes one layer, which is kept by a digest of what it was made from."""

import hashlib
import json
import os
import shlex
import shutil
import string
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.support.namespaces.store import STORE, run

ENTER = Path(__file__).with_name("enter.sh")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EMPTY = ("run", "tmp", "var/tmp", "opt", "srv", "home")
"""Directories of this machine that images do not show."""


@dataclass(frozen=True)
class Image:
    layers: tuple[str, ...] = ()
    """Digests, lowest first; below them is this machine's root directory."""
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH, "HOME": "/root"})
    directory: str = "/"
    command: tuple[str, ...] = ()

    @property
    def lower(self):
        """Return overlay's option `lowerdir`."""
        return ":".join([*(str(STORE / "layers" / one) for one in reversed(self.layers)), "/"])


def build(dockerfile, context, target, given):
    """Return the image of one target.

    Args:
        given: build arguments by name.
    """
    images, stages = {"": _base()}, _stages(dockerfile.read_text())
    names = {name: parent for name, parent, _ in stages}
    wanted = _needed(target, stages)
    for name, _, instructions in stages:
        if name in wanted:
            arguments = {}
            image = images[names[name] if names[name] in names else ""]
            for word, rest in instructions:
                if word == "ARG":
                    key, _, default = rest.partition("=")
                    arguments[key] = given.get(key, default)
                else:
                    image = _apply(image, word, rest, arguments, context, images)
            images[name] = image
    return images[target]


def _stages(text):
    """Return (name, name of the parent, instructions) of each stage."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    stages = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            parent, _, name = rest.split()
            stages.append((name, parent, []))
        elif word and stages:
            stages[-1][2].append((word, rest.strip()))
    return stages


def _needed(target, stages):
    """Return the names of the stages that a target is made from, with itself."""
    wanted = {target}
    for name, parent, instructions in reversed(stages):
        if name in wanted:
            copied = [rest.split()[0] for word, rest in instructions if word == "COPY"]
            wanted |= {parent, *(one.removeprefix("--from=") for one in copied)}
    return wanted


def _apply(image, word, rest, arguments, context, images):
    if word == "RUN":
        return _run(image, rest, arguments)
    if word == "COPY":
        return _copy(image, shlex.split(rest), context, images)
    if word == "ENV":
        key, _, value = rest.partition("=")
        value = string.Template(value).substitute(image.environment)
        return replace(image, environment={**image.environment, key: value})
    if word == "WORKDIR":
        made = _layer(image, [word, rest], lambda new: (new / rest.lstrip("/")).mkdir(parents=True))
        return replace(made, directory=rest)
    if word in ("ENTRYPOINT", "CMD"):
        return replace(image, command=tuple(json.loads(rest)))
    raise SystemExit(f"the Dockerfile has an instruction that this engine does not know: {word}")


def _layer(image, parts, make):
    """Return the image with one more layer, made by `make(directory)` unless it exists."""
    digest = hashlib.sha256("\0".join([*image.layers, *parts]).encode()).hexdigest()[:16]
    place = STORE / "layers" / digest
    if not place.exists():
        new = place.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        make(new)
        new.rename(place)
    return replace(image, layers=(*image.layers, digest))


def _base():
    def make(new):
        for name in EMPTY:
            (new / name).mkdir(parents=True)
            os.setxattr(new / name, "trusted.overlay.opaque", b"y")
        for name in ("tmp", "var/tmp"):
            (new / name).chmod(0o1777)
        policy = new / "usr/sbin/policy-rc.d"
        policy.parent.mkdir(parents=True)
        policy.write_text("#!/bin/sh\nexit 101\n")  # an installation starts no services
        policy.chmod(0o755)

    return _layer(Image(), ["base"], make)


def _run(image, command, arguments):
    def make(new):
        work = {kind: new.with_suffix(f".{kind}") for kind in ("root", "work")}
        for directory in work.values():
            directory.mkdir(exist_ok=True)
        passed = {key: value for key, value in os.environ.items() if key.startswith("PIP_") or key.lower().endswith("_proxy")}  # fmt: skip
        known = {**passed, **image.environment, **arguments}
        run(
            "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "bash", ENTER,
            *(f"{key}={value}" for key, value in known.items()), "sh", "-c", command,
            input="\n",
            env={**os.environ, "LOWER": image.lower, "UPPER": str(new), "WORK": str(work["work"]), "ROOT": str(work["root"]),
                 "DIRECTORY": image.directory},
        )  # fmt: skip
        for directory in work.values():
            shutil.rmtree(directory)

    return _layer(image, ["RUN", image.directory, command, json.dumps([image.environment, arguments], sort_keys=True)], make)  # fmt: skip


def _copy(image, words, context, images):
    source = None
    if words[0].startswith("--from="):
        source = images[words.pop(0).removeprefix("--from=")]
    *names, target = words
    place = Path(image.directory, target).relative_to("/")

    def make(new):
        for name in names:
            origin = _found(source, name) if source else context / name
            if origin.is_dir():
                ignore = shutil.ignore_patterns("__pycache__", ".state")
                shutil.copytree(origin, new / place, dirs_exist_ok=True, symlinks=True, ignore=ignore)  # fmt: skip
            else:
                (new / place).mkdir(parents=True, exist_ok=True)
                shutil.copy(origin, new / place)

    content = source.layers if source else [_digest(context / name) for name in names]
    return _layer(image, ["COPY", *words, image.directory, *content], make)


def _found(image, name):
    """Return where the uppermost layer of an image has a path."""
    places = [STORE / "layers" / one / name.lstrip("/") for one in reversed(image.layers)]
    return next(place for place in places if place.exists())


def _digest(path):
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    made = hashlib.sha256()
    for file in files:
        if file.is_file() and "__pycache__" not in file.parts and ".state" not in file.parts:
            made.update(f"{file.relative_to(path.parent)} {file.stat().st_mode}\0".encode() + file.read_bytes())  # fmt: skip
    return made.hexdigest()
