"""Fuzz the files of trusted host keys: known_hosts, and replicator's own file of remembered keys."""

import asyncio
import json
import tempfile
from contextlib import suppress
from pathlib import Path

import asyncssh

from replicator.errors import HostKeyRefused
from replicator.transport.failures import refused_key
from replicator.transport.trust import HostKeyPolicy, Pins
from tests.fuzz import mutate
from tests.fuzz.target import sentence, target
from tests.support.fakes.console import FakeConsole

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
CERTIFICATE = (
    "ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2guY29tAAAAIAxp6y7Id6Xj+qBpyTLfUeSsoK3T"
    "/Rh2q39p0lpVLVVoAAAAIPNXr47NQdkj/St53MkBI5Ij3AxpF/u9/jX6oOLjQviEAAAAAAAAAAAAAAACAAAAAmlkAAAABQAAAAFoAAAAAAAAAAD/"
    "/////////wAAAAAAAAAAAAAAAAAAADMAAAALc3NoLWVkMjU1MTkAAAAgjDrLPlno9TOod75c2JzD13ci7JBSUzVsPN8L3haVvNwAAABTAAAAC3Nz"
    "aC1lZDI1NTE5AAAAQEFAdHAgNcWt6pFV22ouOpgdAaU30YYqevI2HsB9vRPo8GUUl6A+ckHKQzTBWCACnd6YIqk5+ySr0lZKC7Z19Qk="
)
MACHINE = "i-1"
FINGERPRINT = asyncssh.import_public_key(KEY).get_fingerprint()
HOST, PORT = "10.0.0.1", 2222


@target(
    f"{HOST} {KEY} comment\n# x\n[{HOST}]:{PORT},web {KEY}\n".encode(),
    f"*.example,!bad {KEY}\n@cert-authority 10.0.0.? {KEY}\n@revoked * {KEY}\n10.0.0.0/8 {KEY}\n".encode(),
    f"|1|MDEyMzQ1Njc4OTAxMjM0NTY3ODk=|MDEyMzQ1Njc4OTAxMjM0NTY3ODk= {KEY}\n".encode(),
    f"{HOST} {CERTIFICATE}\n".encode(),
    f"{HOST} x509v3-ssh-rsa Subject:CN=host,O=x\n".encode(),
    mutate=mutate.lines,
    effort=100,
)
def known_hosts(data):
    """Raise nothing; catches HostKeyRefused. Assert that only the key that was shown is remembered, and never in mode `strict`."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        file = Path(directory) / "known_hosts"
        file.write_bytes(data)
        for mode in ("strict", "accept-new", "console"):
            pins = Pins(Path(directory) / mode)
            policy = HostKeyPolicy(
                str(file),
                mode=mode,
                pins=pins,
                console=FakeConsole([FINGERPRINT], identity=MACHINE),
            )
            with suppress(HostKeyRefused):
                asyncio.run(_meet(policy, str(file)))
            assert pins.keys(MACHINE) in ([], [KEY])
            assert mode != "strict" or not pins.keys(MACHINE)


async def _meet(policy, file):
    """Connect to a machine twice; it shows the same key both times."""
    key = asyncssh.import_public_key(KEY)
    for _ in range(2):
        check = await policy.host_key_check(HOST, PORT, MACHINE)
        check.accept_new(key)
        sentence(refused_key(HOST, PORT, check, file, key="SHA256:x", reason="revoked"), 9999)
        sentence(refused_key(HOST, PORT, check, file, key="SHA256:x", reason="other"), 9999)


def _pinned(machine, text):
    return json.dumps({"machine": machine, "file": text}).encode()


@target(
    _pinned("i-1", f"i-2 {KEY}\n[10.0.0.1]:2222 {KEY}\ni-1 ecdsa-sha2-nistp256 AAAA\n"),
    _pinned("vm 7", ""),
    _pinned("wéb\nother", f"other {KEY}\n"),
    mutate=mutate.json_text,
    effort=150,
)
def pins(data):
    """Raise nothing; catches HostKeyRefused. Assert that adding a key for one machine changes no other machine's keys."""
    try:
        held = json.loads(data)
        machine, text = str(held["machine"]), str(held["file"]).encode("utf-8", "surrogatepass")
    except (ValueError, TypeError, KeyError, RecursionError):
        return
    with tempfile.TemporaryDirectory(prefix="fuzz-") as directory:
        file = Path(directory) / "host_keys"
        file.write_bytes(text)
        made = Pins(file)
        others = [name for name in ("i-1", "i-2", "other", "vm") if name != machine]
        try:
            before = [made.keys(name) for name in others]
            made.add(machine, KEY)
        except HostKeyRefused:
            return
        if machine:
            assert made.keys(machine)[-1] == KEY
        assert [made.keys(name) for name in others] == before
