"""Texts in the settings that mean something: rates and addresses."""

from __future__ import annotations

import math
import re

from replicator.errors import ConfigError

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
_RATE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmg]i?)?b?(?:/s)?\s*", re.IGNORECASE | re.ASCII)
_ADDRESS = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?"
    r"(?:\[(?P<v6>[0-9A-Fa-f.%]*:[0-9A-Fa-f:.%]*)\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*)|(?P<bare6>[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*))"
    r"(?::(?P<port>[0-9]{1,5}))?",
)

SHOWN = 100
"""Characters of what is wrong, in an error text: a file of addresses may hold a line of a megabyte."""


def parse_rate(where: str, text: str) -> float:
    """Return bytes per second for a text such as `40MiB/s`.

    Raises:
        ConfigError: if it is no positive rate.
    """
    match = _RATE.fullmatch(text)
    value = float(match[1]) * _UNITS[(match[2] or "").lower()] if match else 0.0
    if not 0 < value < math.inf:
        raise ConfigError(where, f"expected a rate such as '40MiB/s', got {text[:SHOWN]!r}")
    return value


def parse_address(where: str, text: str) -> tuple[str, str, int]:
    """Return (user, host, port) of `user@host:port`; user is empty and port 0 where not given.

    An IPv6 address with a port is written in brackets.

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
