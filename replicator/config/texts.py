"""Parsers for settings that are written as text: sizes, rates and addresses."""

from __future__ import annotations

import ipaddress
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
_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([smhd])?\s*", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_ZONE = r"(?:%[A-Za-z0-9_][A-Za-z0-9_.-]{0,14})?"
"""Zone of an IPv6 address (RFC 4007, section 11): the network interface, as a name of at most 15 bytes or a number."""
_ADDRESS = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?"
    rf"(?:\[(?P<v6>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*{_ZONE})\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*)"
    rf"|(?P<bare6>[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*{_ZONE}))"
    r"(?::(?P<port>[0-9]{1,5}))?",
)

_BUCKET = re.compile(
    r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/([A-Za-z0-9!_.*'()/-]{1,500}?))?/?", re.ASCII
)
"""Names of buckets, and the characters of keys that S3's documentation calls safe."""

SHOWN = 100
"""Limit in characters for input quoted in an error message: a line of an address file may be a megabyte long."""


def parse_rate(where: str, text: str) -> float:
    """Parse a rate such as `40MiB/s` into bytes per second.

    Args:
        where: TOML path, for the error message.
        text: the rate; units are decimal (`MB`) or binary (`MiB`).

    Raises:
        ConfigError: if `text` is not a positive rate.
    """
    return _bytes_of(where, text, _RATE, "a rate such as '40MiB/s'")


def parse_size(where: str, text: str) -> int:
    """Parse a size such as `20GiB` into bytes.

    Args:
        where: TOML path, for the error message.
        text: the size; units are decimal (`GB`) or binary (`GiB`).

    Raises:
        ConfigError: if `text` is not a positive size.
    """
    return int(_bytes_of(where, text, _SIZE, "a size such as '20GiB'")) or 1


def _bytes_of(where: str, text: str, form: re.Pattern[str], expected: str) -> float:
    match = form.fullmatch(text)
    value = float(match[1]) * _UNITS[(match[2] or "").lower()] if match else 0.0
    if not 0 < value < math.inf:
        raise ConfigError(where, f"expected {expected}, got {text[:SHOWN]!r}")
    return value


def parse_bucket(where: str, text: str) -> tuple[str, str]:
    """Parse a URL such as `s3://bucket/prefix` into the bucket, and the prefix with a slash at its end (or empty).

    Args:
        where: TOML path, for the error message.
        text: the URL.

    Raises:
        ConfigError: if `text` is not such a URL.
    """
    match = _BUCKET.fullmatch(text)
    if match is None or any(part in ("", ".", "..") for part in (match[2] or "x").split("/")):
        raise ConfigError(
            where, f"expected a URL such as 's3://bucket/prefix', got {text[:SHOWN]!r}"
        )
    return match[1], f"{match[2]}/" if match[2] else ""


def parse_duration(where: str, text: str) -> float:
    """Parse a duration such as `90`, `90s`, `10m`, `2h` or `1d` into seconds.

    Args:
        where: option or TOML path, for the error message.
        text: the duration; without a unit it is in seconds.

    Raises:
        ConfigError: if `text` is not a positive duration.
    """
    match = _DURATION.fullmatch(text)
    value = float(match[1]) * _SECONDS[match[2] or "s"] if match else 0.0
    if not 0 < value < math.inf:
        raise ConfigError(
            where, f"expected a duration such as '90s' or '10m', got {text[:SHOWN]!r}"
        )
    return value


def parse_address(where: str, text: str) -> tuple[str, str, int]:
    """Parse `user@host:port` into (user, host, port); a missing user is empty, a missing port 0.

    An IPv6 address with a port needs brackets; it may have a zone (`fe80::1%eth0`).

    Args:
        where: TOML path or argument name, for the error message.
        text: the address.

    Raises:
        ConfigError: if `text` is not an address, or begins like a command-line option.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise ConfigError(
            where, f"expected 'host', 'user@host' or 'user@host:port', got {text[:SHOWN]!r}"
        )
    host = match["v6"] or match["bare6"] or match["host"]
    return match["user"] or "", host, int(match["port"] or 0)


def parse_listen(where: str, text: str) -> str | tuple[str, int]:
    """Parse where a server listens: return the path of a Unix socket, or (IP address, port).

    Args:
        where: TOML path, for the error message.
        text: an absolute path, or `address:port`; `localhost` is 127.0.0.1.

    Raises:
        ConfigError: if `text` is neither.
    """
    if text.startswith("/") and "\0" not in text:
        # The path of a Unix socket has at most 108 bytes, the final NUL included (unix(7)).
        if len(text.encode("utf-8", "surrogateescape")) > 107:
            raise ConfigError(where, "is too long for the path of a Unix socket: at most 107 bytes")
        return text
    host, _, port = text.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        number = int(port) if port.isascii() and port.isdigit() else 0
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise ConfigError(
            where,
            f"expected an IP address with a port such as '127.0.0.1:9440', or the absolute path of a socket, got {text[:SHOWN]!r}",
        )
    return host, number
