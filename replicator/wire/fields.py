"""The fields of messages: how each kind of value is written in JSON, and how it is checked when it arrives.

A value from the peer is believed only after its check; a check raises ProtocolError, whatever it was given.
"""

from __future__ import annotations

from typing import Any, Callable, Sequence

from replicator.errors import PathRefused, ProtocolError
from replicator.model import KINDS, MAX_TREES, ROOT, check_path, printable

Check = Callable[[Any], Any]

MAX_FILE = 1 << 50
"""Bytes: more than any file system here holds (ext4: 2^44), and far from where arithmetic on offsets gets odd."""

MAX_NUMBER = 1 << 53
"""Beyond it, JSON numbers stop being exact in other languages."""

DIGEST_SIZE = 32


def text_of(data: bytes) -> str:
    """Return bytes as JSON text, losslessly."""
    return data.decode("utf-8", "surrogateescape")


def integer(low: int, high: int) -> Check:
    """Return a check for an integer in low..high (a bool is none)."""

    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ProtocolError(f"expected an integer in {low}..{high}")
        return value

    return check


def text(limit: int) -> Check:
    """Return a check for a text of at most `limit` characters."""

    def check(value: Any) -> str:
        if type(value) is not str or len(value) > limit:
            raise ProtocolError(f"expected a text of at most {limit} characters")
        return value

    return check


def sentence(limit: int) -> Check:
    """Return a check for words that a person will read: a bounded text, in which whatever is not printable is escaped."""
    words = text(limit)

    def check(value: Any) -> str:
        return printable(words(value).encode("utf-8", "surrogatepass"))[: 2 * limit]

    return check


def raw(value: Any) -> bytes:
    """Check a byte string that travelled as text."""
    if type(value) is not str:
        raise ProtocolError("expected a text")
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ProtocolError("text holds characters that no name can hold") from None


def path(value: Any) -> bytes:
    """Check a path below a tree's root."""
    try:
        return check_path(raw(value))
    except PathRefused as error:
        raise ProtocolError(str(error)) from None


def path_or_root(value: Any) -> bytes:
    """Check a path, or the empty text, which is the root."""
    return ROOT if value == "" else path(value)


def link(value: Any) -> bytes:
    """Check a symlink's target: any bytes but NUL, not empty, at most PATH_MAX."""
    target = raw(value)
    if not 0 < len(target) <= 4096 or b"\0" in target:
        raise ProtocolError("not a symlink target")
    return target


def digest(value: Any) -> bytes:
    """Check a SHA-256 in hexadecimal."""
    if type(value) is not str or len(value) != 2 * DIGEST_SIZE:
        raise ProtocolError("expected a SHA-256 in hexadecimal")
    try:
        found = bytes.fromhex(value)
    except ValueError:
        found = b""
    if len(found) != DIGEST_SIZE:  # fromhex() passes over blanks
        raise ProtocolError("expected a SHA-256 in hexadecimal")
    return found


def digest_or_none(value: Any) -> bytes:
    """Check a SHA-256, or the empty text for none."""
    return b"" if value == "" else digest(value)


def flag(value: Any) -> bool:
    """Check a truth value."""
    if type(value) is not bool:
        raise ProtocolError("expected true or false")
    return value


def kind(value: Any) -> str:
    """Check the kind of an entry."""
    if type(value) is not str or value not in KINDS:
        raise ProtocolError("expected the kind of an entry")
    return value


def array(value: Any, limit: int = 1 << 20) -> list[Any]:
    """Check a JSON array of at most `limit` items."""
    if type(value) is not list or len(value) > limit:
        raise ProtocolError(f"expected an array of at most {limit} items")
    return value


def array_of(length: int, values: Any) -> list[Any]:
    """Check an array that has so many fields, whatever they are."""
    if type(values) is not list or len(values) != length:
        raise ProtocolError(f"expected an array of {length} fields")
    return values


def row(checks: Sequence[Check], values: Any) -> list[Any]:
    """Check an array field by field."""
    # no strict= on Python 3.9
    return [check(value) for check, value in zip(checks, array_of(len(checks), values))]


number = integer(0, MAX_NUMBER)
tree = integer(0, MAX_TREES)
mode = integer(0, 0o7777)
size = integer(0, MAX_FILE)
any_size = integer(
    0, (1 << 63) - 1
)  # of a file that is not ours: a sparse one may be larger than MAX_FILE
time_ns = integer(-(1 << 63) * 10**9, (1 << 63) * 10**9 - 1)  # seconds of 64 bits, as in a time_t
owner_id = integer(-1, (1 << 32) - 1)
