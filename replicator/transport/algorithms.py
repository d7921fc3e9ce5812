"""Ciphers and MACs that are offered to an SSH server, and error texts for a server that shares no algorithm.

An authenticated cipher (AES-GCM, ChaCha20-Poly1305) needs no MAC. Other ciphers are offered only if `ssh.ciphers` names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from replicator.config import AUTHENTICATED_CIPHERS

MACS = (
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
)
"""Used with ciphers that are not authenticated; encrypt-then-MAC first."""

_PSEUDO = ("ext-info-", "kex-strict-")
"""Prefixes of names in the list of key exchanges that are extension markers, not algorithms (RFC 8308)."""

SHOWN = 10
"""Maximum number of algorithms in an error text."""


def unauthenticated(ciphers: Sequence[str]) -> list[str]:
    """Return the ciphers that need a MAC."""
    return [cipher for cipher in ciphers if cipher not in AUTHENTICATED_CIPHERS]


def mac_options(ciphers: Sequence[str]) -> dict[str, Any]:
    """Return the keyword argument of `asyncssh.connect` with the MACs; empty if no cipher needs one."""
    return {"mac_algs": MACS} if unauthenticated(ciphers) else {}


def mismatch(connection: Any) -> str:
    """Return an error text if client and server share no algorithm of some kind; empty if they do, or if it is unknown.

    Args:
        connection: an asyncssh connection that failed, after both sides have sent SSH_MSG_KEXINIT.
    """
    ours, theirs = (
        _offer(getattr(connection, name, b"")) for name in ("_client_kexinit", "_server_kexinit")
    )
    if not ours or not theirs:
        return ""
    key_exchange, host_key, cipher, mac = zip(ours, theirs, strict=True)
    if not _common(*key_exchange):
        return _text("key exchange", *key_exchange, "add one of ours to KexAlgorithms there")
    if not _common(*host_key):
        fix = (
            "if known_hosts has a key of another type for it, compare the fingerprint on the machine's console, and add this one;"
            " else have sshd there use a HostKey of such a type"
        )
        return _text("host key", *host_key, fix)
    if not _common(*cipher):
        fix = "add one of ours to Ciphers there, or one of those to ssh.ciphers in the configuration here"
        return _text("cipher", *cipher, fix)
    if unauthenticated(_common(*cipher)[:1]) and not _common(*mac):
        return _text("MAC", *mac, "add one of ours to MACs there")
    return ""


def _common(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    return [name for name in ours if name in theirs]


def _text(kind: str, ours: Sequence[str], theirs: Sequence[str], fix: str) -> str:
    return (
        f"no {kind} algorithm is shared: it offers {_names(theirs)}; we offer {_names(ours)}: {fix}"
    )


def _names(names: Sequence[str]) -> str:
    shown = [name for name in names if not name.startswith(_PSEUDO)]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return (", ".join(shown[:SHOWN]) or "none") + more


def _offer(packet: bytes) -> list[list[str]]:
    """Return the key exchanges, host keys, ciphers and MACs in an SSH_MSG_KEXINIT (RFC 4253, section 7.1); empty if it is malformed.

    The ciphers and MACs are those from client to server; OpenSSH offers the same in both directions.
    """
    lists: list[list[str]] = []
    rest = packet[1 + 16 :]
    for _ in range(6):
        size = int.from_bytes(rest[:4], "big")
        if len(rest) < 4 + size:
            return []
        names = rest[4 : 4 + size].decode("ascii", "replace")
        lists.append([name for name in names.split(",") if name])
        rest = rest[4 + size :]
    return [lists[0], lists[1], lists[2], lists[4]]
