"""Fields of messages: how each type of value is encoded in JSON, and how it is checked on arrival.

A value from the peer is used only after its check. A check accepts any JSON value, and returns the decoded value or raises
ProtocolError.
"""

from __future__ import annotations

from typing import Any, Callable, Sequence

from replicator.errors import PathRefused, ProtocolError
from replicator.model import KINDS, MAX_TREES, ROOT, check_path, printable

Check = Callable[[Any], Any]

MAX_FILE = 1 << 50
"""Bytes in a file: more than any supported file system allows (ext4: 2^44), and far below the limit of file offsets (2^63)."""

MAX_NUMBER = 1 << 53
"""Highest number: beyond it, JSON numbers are not exact in other languages."""

DIGEST_SIZE = 32


def text_of(data: bytes) -> str:
    """Return bytes as a JSON string, without loss: bytes that are not UTF-8 become surrogate escapes."""
    return data.decode("utf-8", "surrogateescape")


def integer(low: int, high: int) -> Check:
    """Return a check for an integer in low..high; it rejects true and false."""

    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ProtocolError(f"expected an integer in {low}..{high}")
        return value

    return check


def text(limit: int) -> Check:
    """Return a check for a string of at most `limit` characters."""

    def check(value: Any) -> str:
        if type(value) is not str or len(value) > limit:
            raise ProtocolError(f"expected a string of at most {limit} characters")
        return value

    return check


def sentence(limit: int) -> Check:
    """Return a check for a string that is shown to the operator: of bounded length, and with unprintable characters escaped."""
    bounded = text(limit)

    def check(value: Any) -> str:
        return printable(bounded(value).encode("utf-8", "surrogatepass"))[: 2 * limit]

    return check


def raw(value: Any) -> bytes:
    """Check a byte string that was encoded by `text_of`."""
    if type(value) is not str:
        raise ProtocolError("expected a string")
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ProtocolError("the string holds characters that no name can hold") from None


def path(value: Any) -> bytes:
    """Check a path below a tree's root."""
    try:
        return check_path(raw(value))
    except PathRefused as error:
        raise ProtocolError(str(error)) from None


def path_or_root(value: Any) -> bytes:
    """Check a path, or an empty string for the root."""
    return ROOT if value == "" else path(value)


def link(value: Any) -> bytes:
    """Check a symlink's target: 1 to 4,096 bytes (PATH_MAX) without NUL."""
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
    if len(found) != DIGEST_SIZE:  # fromhex() ignores spaces
        raise ProtocolError("expected a SHA-256 in hexadecimal")
    return found


def digest_or_none(value: Any) -> bytes:
    """Check a SHA-256 in hexadecimal, or an empty string for none."""
    return b"" if value == "" else digest(value)


def flag(value: Any) -> bool:
    """Check a boolean."""
    if type(value) is not bool:
        raise ProtocolError("expected true or false")
    return value


def kind(value: Any) -> str:
    """Check the kind of an entry: FILE, DIRECTORY or SYMLINK."""
    if type(value) is not str or value not in KINDS:
        raise ProtocolError("expected the kind of an entry: f, d or l")
    return value


def array(value: Any, limit: int = 1 << 20) -> list[Any]:
    """Check a JSON array of at most `limit` items."""
    if type(value) is not list or len(value) > limit:
        raise ProtocolError(f"expected an array of at most {limit} items")
    return value


def array_of(length: int, values: Any) -> list[Any]:
    """Check an array of exactly `length` fields, but not the fields themselves."""
    if type(values) is not list or len(values) != length:
        raise ProtocolError(f"expected an array of {length} fields")
    return values


def row(checks: Sequence[Check], values: Any) -> list[Any]:
    """Check an array with one check for each field; return the decoded fields."""
    # no strict= on Python 3.9
    return [check(value) for check, value in zip(checks, array_of(len(checks), values))]


short = text(1000)
words = sentence(1000)
number = integer(0, MAX_NUMBER)
tree = integer(0, MAX_TREES)
mode = integer(0, 0o7777)
size = integer(0, MAX_FILE)
any_size = integer(
    0, (1 << 63) - 1
)  # size of any file on a frontend: a sparse one may be larger than MAX_FILE
time_ns = integer(-(1 << 63) * 10**9, (1 << 63) * 10**9 - 1)  # a 64-bit time_t, in nanoseconds
owner_id = integer(-1, (1 << 32) - 1)
