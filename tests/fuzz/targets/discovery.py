"""Fuzz discovery: the file of frontends, the stored members, DNS names and the EC2 console."""

import asyncio
import base64
import json
import re
import socket
import tempfile
from asyncio.base_events import BaseEventLoop
from pathlib import Path
from unittest import mock

from structlog.testing import capture_logs

from replicator.config import parse_address
from replicator.discovery.aws.console import printed
from replicator.discovery.dns import DnsProvider
from replicator.discovery.file import FileProvider
from replicator.discovery.member_file import MemberFile
from replicator.errors import ConfigError, DiscoveryError
from replicator.ports import Address, Candidate, Decision
from tests.fuzz import mutate
from tests.fuzz.target import sentence, target

ROWS = ["10.0.0.1", {"address": "deploy@10.0.0.2:22", "identity": "vm-7", "state": "up"}]
CANDIDATES = [
    Candidate(Address("10.0.0.1"), "file", "i-1", "healthy"),
    Candidate(Address("fd00::1", "deploy", 2222), "file", "", "x", Decision.DRAIN),
]
MARKS = "-----BEGIN SSH HOST KEY FINGERPRINTS-----", "-----END SSH HOST KEY FINGERPRINTS-----"
PRINT = "256 SHA256:" + "Ab0+/" * 8 + "xyz"
CONSOLE = f"[  1.0] cloud-init\n{MARKS[0]}\n{PRINT} root@web (ED25519)\n{PRINT}\n{MARKS[1]}\nlogin:"


def _dialled(address):
    """Assert that the configuration accepts an address."""
    assert type(address.port) is int
    assert 0 <= address.port < 65536
    parse_address("", str(address))


def _either(data, rng):
    return (mutate.json_text if data[:1] in (b"[", b"{") else mutate.lines)(data, rng)


@target(
    b"# web\n10.0.0.1\n\ndeploy@10.0.0.2:2222  # second\n[fd00::1]:22\n",
    json.dumps(ROWS).encode(),
    json.dumps({"frontends": ROWS}).encode(),
    mutate=_either,
    effort=100,
)
def frontends(data):
    """Raise nothing; catches DiscoveryError. Assert that all frontends have valid addresses."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        file = Path(directory) / "frontends"
        file.write_bytes(data)
        try:
            poll = asyncio.run(FileProvider(str(file), interval=1.0).poll())
        except DiscoveryError as error:
            sentence(error, 2000)
            return
    for candidate in poll.candidates:
        _dialled(candidate.address)
        assert (candidate.identity + candidate.state).isprintable()


def _saved(known):
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        file = Path(directory) / "members.json"
        MemberFile(file).save(known)
        return file.read_bytes()


@target(
    _saved({"file x": CANDIDATES, "dns y": []}),
    _saved({}),
    mutate=mutate.json_text,
    effort=200,
)
def member_set(data):
    """Raise nothing. Assert that whatever was loaded can be saved and loaded again."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory, capture_logs():
        file = Path(directory) / "members.json"
        file.write_bytes(data)
        known = MemberFile(file).load()
        for candidate in [s for candidates in known.values() for s in candidates]:
            assert 0 <= candidate.address.port < 65536
        file.unlink()
        MemberFile(file).save(known)
        again = MemberFile(file).load()
        assert again == known


async def _resolver(_loop, host, port, **_):
    """Encode the name as the real resolver does, and return fixed addresses."""
    host.encode("idna")
    if host.startswith("x"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [
        (socket.AF_INET, 1, 6, "", ("10.0.0.1", 0)),
        (socket.AF_INET6, 1, 6, "", ("fe80::1", 0, 0, 2)),
    ]


@target(b"web.example\nxanadu\ndeploy@web:2222", b"a..b", b"x" * 64, mutate=mutate.lines)
def dns(data):
    """Raise nothing; catches ConfigError for an invalid name, and DiscoveryError if no name has an address."""
    names = []
    for line in data.decode("utf-8", "replace").split("\n"):
        try:
            user, host, port = parse_address("discovery.name", line)
            names.append(Address(host, user, port))
        except ConfigError:
            continue
    with mock.patch.object(BaseEventLoop, "getaddrinfo", _resolver):
        try:
            poll = asyncio.run(DnsProvider(names, interval=1.0).poll())
        except DiscoveryError:
            return
    for candidate in poll.candidates:
        _dialled(candidate.address)


@target(
    CONSOLE.encode(),
    base64.b64encode(CONSOLE.encode()),
    (CONSOLE + CONSOLE.replace(MARKS[1], "")).encode(),
    (MARKS[0] * 1600).encode(),
    mutate=mutate.lines,
    limit=65536,
)
def console(data):
    """Raise nothing. Assert that only well-formed fingerprints between the two marks are returned."""
    text = data.decode("utf-8", "replace")
    for found in printed(text):
        assert re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}", found)
        if found in text:
            assert MARKS[0] in text[: text.index(found)] or text.count(found) > 1
