"""The commands of `docker` that `deploy/local` and its tests use."""

import argparse
import os
import signal
import sys
from pathlib import Path

from tests.support.namespaces import network
from tests.support.namespaces.nodes import named, nodes, publish
from tests.support.namespaces.store import STORE, mount

LABEL = "label=com.docker.compose."


def compose(words):
    """compose [-f FILE]... build|up|down [OPTION]... [SERVICE]..."""
    if words == ["version"]:
        return
    from tests.support.namespaces.compose import Project  # reads YAML: not for `exec`

    parser = argparse.ArgumentParser()
    parser.add_argument("-f", action="append", type=Path)
    parser.add_argument("action", choices=("build", "up", "down"))
    parser.add_argument("services", nargs="*")
    parser.add_argument("--scale", action="append", default=[])
    parser.add_argument("--timeout", type=float)
    for flag in ("--quiet", "--detach", "--no-recreate", "--no-deps", "--volumes"):
        parser.add_argument(flag, action="store_true")
    options = parser.parse_intermixed_args(words)
    project = Project(options.f)
    if options.action == "build":
        project.build()
    elif options.action == "up":
        scale = {key: int(number) for key, _, number in (one.partition("=") for one in options.scale)}  # fmt: skip
        project.up(scale, options.services, recreate=not options.no_recreate)
    else:
        project.down(options.timeout, volumes=options.volumes)


def ps(words):
    """ps [-a] [--quiet] [--filter label=...]... [--format TEMPLATE]"""
    parser = argparse.ArgumentParser()
    parser.add_argument("-a", "--all", action="store_true")
    parser.add_argument("-q", "--quiet", action="store_true")
    parser.add_argument("--format")
    parser.add_argument("--filter", action="append", default=[])
    options = parser.parse_args(words)
    labels = dict(one.removeprefix(LABEL).split("=") for one in options.filter)
    number = labels.get("container-number")
    found = nodes(labels["project"], service=labels.get("service"), number=int(number) if number else None, stopped=options.all)  # fmt: skip
    for node in found:
        print(node.number if options.format else node.name)


def volume(words):
    """volume ls --quiet --filter label=...: prints the names of a project's volumes."""
    project = words[-1].rpartition("=")[2]
    for place in (STORE / "projects" / project / "volumes").glob("*"):
        print(f"{project}_{place.name}")


def inspect(words):
    """inspect --format TEMPLATE NODE: prints its address."""
    node = named(words[-1])
    print(network.address(node.project, node.service, node.number))


def exec_(words):
    """exec [--interactive] [--tty] NODE COMMAND [ARGUMENT]..."""
    while words[0].startswith("-"):
        words.pop(0)
    entering = named(words[0]).entering()
    os.execvp(entering[0], [*entering, *words[1:]])


def kill(words):
    for node in map(named, words):
        node.signal(signal.SIGKILL)
        node.wait(5)
        publish(node.project)


def start(words):
    for node in map(named, words):
        node.start()
        publish(node.project)


def pause(words):
    for node in map(named, words):
        node.signal(signal.SIGSTOP)


def unpause(words):
    for node in map(named, words):
        node.signal(signal.SIGCONT)


COMMANDS = {"compose": compose, "ps": ps, "volume": volume, "inspect": inspect, "exec": exec_, "kill": kill, "start": start, "pause": pause, "unpause": unpause}  # fmt: skip

if __name__ == "__main__":
    mount()
    COMMANDS[sys.argv[1]](sys.argv[2:])
