"""The network of a project: a bridge, and dnsmasq, which answers for the names of the nodes that run.

Both are in a network namespace of their own, because the firewall of a machine on which docker runs drops what passes its bridges. The
machine has an address in this network and can reach each node.
"""

import contextlib
import os
import signal
import subprocess
import time
import zlib
from pathlib import Path

from tests.support.namespaces.store import STORE, run


def _number(project):
    return zlib.crc32(project.encode()) % 200 + 20


def resolver(project):
    """Return the address of the name server."""
    return f"10.231.{_number(project)}.2"


def address(project, service, number):
    """Return the address of a node, which is always the same."""
    block = {"router": 10, "backend": 20, "redis": 30, "database": 40, "frontend": 100}[service]
    return f"10.231.{_number(project)}.{block + number}"


def create(project):
    """Make the bridge and start the name server, unless they exist."""
    hosts = _place(project) / "hosts"
    hosts.touch()
    started = _daemon(
        project, "dnsmasq", "unshare", "--net", "sh", "-c", 'read -r _; exec "$@"', "sh",
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=", "--log-facility=-",
        "--bind-interfaces", f"--listen-address={resolver(project)}", f"--addn-hosts={hosts}",
    )  # fmt: skip
    if started:
        _bridge(project, started.pid)
        started.stdin.write(b"\n")
        started.stdin.close()
        while ":0035 " not in Path(f"/proc/{started.pid}/net/udp").read_text():
            time.sleep(0.005)  # before it answers, a SIGHUP would end it


def _bridge(project, process):
    """Make the bridge in the name server's namespace, which is its own as soon as it has another link than this process."""
    while os.readlink(f"/proc/{process}/ns/net") == os.readlink("/proc/self/ns/net"):
        time.sleep(0.005)
    inside, port = ["nsenter", f"--target={process}", "--net", "ip"], f"rpl{_number(project)}"
    run(*inside, "link", "set", "lo", "up")
    # With an address of its own: otherwise it is that of the lowest port, and changes when that node ends; the others, who remember the
    # former one, would then get no answer from the name server for half a minute.
    run(*inside, "link", "add", "bridge", "address", _hardware(resolver(project)), "type", "bridge")
    run(*inside, "address", "add", f"{resolver(project)}/24", "dev", "bridge")
    run(*inside, "link", "set", "bridge", "up")
    run("ip", "link", "add", port, "type", "veth", "peer", "name", "machine", "netns", str(process))
    run(*inside, "link", "set", "machine", "master", "bridge", "up")
    run("ip", "address", "add", f"10.231.{_number(project)}.1/24", "dev", port)
    run("ip", "link", "set", port, "up")


def forward(project, where, target):
    """Let a port of this machine lead to a node.

    Args:
        where: "address:port", as in the compose file.
    """
    listen, _, port = where.rpartition(":")
    option = f",bind={listen}" if listen else ""
    _daemon(project, "socat", "socat", f"TCP-LISTEN:{port},fork,reuseaddr{option}", f"TCP:{target}")


def attach(process, project, where):
    """Give the network namespace of a process an interface on the bridge. It goes when the process ends."""
    switch = ["nsenter", f"--target={_pid(project, 'dnsmasq')}", "--net", "ip"]
    run(*switch, "link", "add", f"to{process}", "type", "veth", "peer", "name", "eth0", "netns", str(process))  # fmt: skip
    run(*switch, "link", "set", f"to{process}", "master", "bridge", "up")
    inside = ["nsenter", f"--target={process}", "--net", "ip"]
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "link", "set", "eth0", "address", _hardware(where))
    run(*inside, "address", "add", f"{where}/24", "dev", "eth0")
    run(*inside, "link", "set", "eth0", "up")


def _hardware(where):
    """Return a hardware address made from an IP address, as docker's: others remember it when a node is started again."""
    return ":".join(["02", "42", *(f"{int(part):02x}" for part in where.split("."))])


def publish(project, rows):
    """Answer for these (name, service, address) from now on, and for no others."""
    hosts = _place(project) / "hosts"
    new = hosts.with_suffix(".new")
    new.write_text("".join(f"{where} {name} {service}\n" for name, service, where in rows))
    new.replace(hosts)
    _signal(project, "dnsmasq", signal.SIGHUP)


def remove(project):
    """End the daemons; the network goes with the name server."""
    for name in ("dnsmasq", "socat"):
        _signal(project, name, signal.SIGTERM)
        (_place(project) / f"{name}.pid").unlink(missing_ok=True)


def _place(project):
    place = STORE / "projects" / project
    place.mkdir(parents=True, exist_ok=True)
    return place


def _daemon(project, name, *command):
    """Start a daemon, and return its process; None if it was started before."""
    file = _place(project) / f"{name}.pid"
    if file.exists():
        return None
    with (_place(project) / f"{name}.log").open("ab") as log:
        started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)  # fmt: skip
    file.write_text(str(started.pid))
    return started


def _pid(project, name):
    return int((_place(project) / f"{name}.pid").read_text())


def _signal(project, name, number):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(_pid(project, name), number)
