"""Mutators, which make valid inputs slightly wrong.

The first check of a parser rejects random bytes. To reach the code behind it, a mutator keeps the structure and changes one thing:
a number to a limit of its range, a string to one that is not a valid path, the order of two frames. A mutator takes any bytes and
a random.Random, and returns bytes, so that both hypothesis and atheris can call it.
"""

import json
import re
import struct

NUMBERS = (0, 1, -1, 2, 255, 65536, 2**31 - 1, 2**32, 2**50, 2**53 + 1, 2**63 - 1, -(2**63), 10**40)
TEXTS = (
    "",
    "\0",
    ".",
    "..",
    "/",
    "a//b",
    "../x",
    "/etc/x",
    "dir",
    "dir/file",
    "link/x",
    "a" * 256,
    "a/" * 210 + "a",
    "é\u2028",
    "\ud800",
    "\udcff",
    "\x1b[31m\r\n",
    "k\u0131",  # dotless i: equals KI when case is ignored by upper(), but not by lower()
    " " * 64,
    "0" * 64,
    "a..b",
    "~nobody-at-all/x",
)
VALUES = (None, True, False, 1.5, 1e308, [], {}, [[]], *NUMBERS, *TEXTS)
BOMBS = (b"[" * 3000, b'{"a":' * 3000, b"1" * 5000, b"-" * 3000, b"#" * 3000)
_TOKEN = re.compile(rb"[^\s=\[\]\",|:@]+")


def octets(data, rng):
    """Change some bytes without regard to structure."""
    at, end = sorted(rng.randint(0, len(data)) for _ in range(2))
    part = data[at:end]
    match rng.randrange(9):
        case 0 if part:
            part = bytes([part[0] ^ 1 << rng.randrange(8)]) + part[1:]
        case 1:
            part = rng.randbytes(rng.randint(1, 8)) + part
        case 2:
            part = b""
        case 3:
            part += part[:1000]
        case 4:
            return data[:at]
        case 5:
            part = (
                struct.pack(
                    rng.choice((">I", "<I", ">Q", "<Q")), rng.choice((0, 1, 2**31, 2**32 - 1))
                )
                + part[4:]
            )
        case 6:
            return data[end:] + part + data[:at]
        case 7 if not rng.randrange(8):
            part = rng.choice(BOMBS) + part
        case _:
            part = bytes([rng.randrange(256)]) + part[1:]
    return data[:at] + part + data[end:]


def lines(data, rng):
    """Change one line of a text, or one word of a line."""
    rows = data.split(b"\n")
    at = rng.randrange(len(rows))
    words = list(_TOKEN.finditer(rows[at]))
    match rng.randrange(8):
        case 0:
            del rows[at]
        case 1:
            rows.insert(at, rng.choice(rows))
        case 2:
            rng.shuffle(rows)
        case 3 | 4 | 5 if words:
            word = rng.choice(words)
            new = _word(rng) if rng.randrange(4) else octets(word[0], rng)
            rows[at] = rows[at][: word.start()] + new + rows[at][word.end() :]
        case 6 if words:
            rows[at] = rows[at].replace(rng.choice(words)[0], rng.choice(words)[0])
        case _:
            return octets(data, rng)
    return b"\n".join(rows)


def _word(rng):
    value = rng.choice(VALUES)
    text = value if isinstance(value, str) and rng.randrange(2) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")


def json_text(data, rng):
    """Change one value of a JSON text."""
    try:
        whole = [json.loads(data)]
    except (ValueError, RecursionError):
        return octets(data, rng)
    if not rng.randrange(8):
        return octets(data, rng)
    holders = [whole]
    for holder in holders:
        inner = holder.values() if isinstance(holder, dict) else holder
        holders += [value for value in inner if isinstance(value, list | dict)]
    _change(rng.choice([holder for holder in holders if holder]), rng)
    return json.dumps(whole[0] if whole else None).encode()


def _change(holder, rng):
    at = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    match rng.randrange(6):
        case 0:
            del holder[at]
        case 1 if isinstance(holder, list):
            holder.insert(at, rng.choice(holder))
        case 1:
            holder[rng.choice(TEXTS)] = holder[at]
        case 2 if type(holder[at]) is int:
            holder[at] += rng.choice((-1, 1))
        case 3 if isinstance(holder[at], str):
            text = holder[at].encode("utf-8", "surrogatepass")
            holder[at] = octets(text, rng).decode("utf-8", "surrogateescape")
        case 4 if isinstance(holder, list):
            rng.shuffle(holder)
        case _:
            holder[at] = rng.choice(VALUES)


def frames(data, rng):
    """Change one frame of a stream: its header, its payload, its lengths, or its position."""
    parts, rest = split(data)
    if not parts or not rng.randrange(12):
        return octets(data, rng)
    at = rng.randrange(len(parts))
    header, payload = parts[at]
    match rng.randrange(8):
        case 0:
            del parts[at]
        case 1:
            parts.insert(rng.randint(0, len(parts)), parts[at])
        case 2:
            other = rng.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        case 3 if payload:
            parts[at] = header, octets(payload, rng)
        case _:
            parts[at] = json_text(header, rng), payload
    return b"".join(frame(*part) for part in parts) + rest


def frame(header, payload=b""):
    """Return a frame with any bytes as header and payload."""
    return struct.pack(">II", len(header), len(payload)) + header + payload


def split(data):
    """Split a stream; return its complete frames as (header, payload), and the remaining bytes."""
    parts = []
    while len(data) >= 8:
        middle, size = struct.unpack_from(">II", data)
        if len(data) < 8 + middle + size:
            break
        parts.append((data[8 : 8 + middle], data[8 + middle : 8 + middle + size]))
        data = data[8 + middle + size :]
    return parts, data


def repeated(mutate, data, rng):
    """Apply a mutator 0 to 5 times, mostly once or twice."""
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 5))):
        data = mutate(data, rng)
    return data
