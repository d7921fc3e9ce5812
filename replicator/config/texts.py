"""Texts in the settings that mean something: rates and addresses."""

from __future__ import annotations

import math
import re

from replicator.errors import ConfigError

_UNITS = {"": 1} | {
    unit + suffix: base**power
    for suffix, base in (("", 1000), ("i", 1024))
    for power, unit in enumerate("kmgt", 1)
}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]i?)?b?\s*", re.IGNORECASE | re.ASCII)
_RATE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]i?)?b?(?:/s)?\s*", re.IGNORECASE | re.ASCII)
_ZONE = r"(?:%[A-Za-z0-9_][A-Za-z0-9_.-]{0,14})?"
"""The network interface behind an IPv6 address: a name of at most 15 bytes, or a number (RFC 4007, section 11)."""
_ADDRESS = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?"
    rf"(?:\[(?P<v6>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*{_ZONE})\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*)"
    rf"|(?P<bare6>[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*{_ZONE}))"
    r"(?::(?P<port>[0-9]{1,5}))?",
)

SHOWN = 100
"""Characters of what is wrong, in an error text: a file of addresses may hold a line of a megabyte."""


def parse_rate(where: str, text: str) -> float:
    """Return bytes per second for a text such as `40MiB/s`.

    Raises:
        ConfigError: if it is no positive rate.
    """
    return _bytes_of(where, text, _RATE, "a rate such as '40MiB/s'")


def parse_size(where: str, text: str) -> int:
    """Return bytes for a text such as `20GiB`.

    Raises:
        ConfigError: if it is no positive size.
    """
    return int(_bytes_of(where, text, _SIZE, "a size such as '20GiB'")) or 1


def _bytes_of(where: str, text: str, form: re.Pattern[str], expected: str) -> float:
    match = form.fullmatch(text)
    value = float(match[1]) * _UNITS[(match[2] or "").lower()] if match else 0.0
    if not 0 < value < math.inf:
        raise ConfigError(where, f"expected {expected}, got {text[:SHOWN]!r}")
    return value


def parse_address(where: str, text: str) -> tuple[str, str, int]:
    """Return (user, host, port) of `user@host:port`; user is empty and port 0 where not given.

    An IPv6 address with a port is written in brackets; it may have a zone (`fe80::1%eth0`).

    Raises:
        ConfigError: if it is no address, or begins like an option.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise ConfigError(
            where, f"expected 'host', 'user@host' or 'user@host:port', got {text[:SHOWN]!r}"
        )
    host = match["v6"] or match["bare6"] or match["host"]
    return match["user"] or "", host, int(match["port"] or 0)
