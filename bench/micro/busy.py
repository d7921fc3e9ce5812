"""Encoding and decoding of frames, and a burst of hints. No other program has the same steps, so there are no peers."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

from bench import data
from bench.case import Case, Params, timed

FILES = 4096
"""Bytes of content in each file of the `frames` case: a thumbnail."""


def encode(at: Path, _: Params) -> int:
    """Frame small files in batches, as for a bootstrap."""
    from replicator.engine.changes.create import put_change
    from replicator.engine.changes.encode import encode_batches
    from replicator.model import FILE, Entry

    content = (at / "content").read_bytes()
    pieces = [content[n : n + FILES] for n in range(0, len(content), FILES)]
    entry = Entry(FILE, 0o644, FILES, 10**18, digest=bytes(32))
    puts = [
        (put_change(n + 1, 1, b"2026/11/photo-%06d.jpg" % n, entry), p)
        for n, p in enumerate(pieces)
    ]
    with (at / "frames").open("wb") as out:
        for encoded in encode_batches(puts):
            out.writelines(encoded.frames)
    return (at / "frames").stat().st_size


def decode(at: Path, _: Params) -> None:
    """Decode the frames, as an agent does."""
    from replicator.wire import frames, messages

    decoder = frames.Decoder()
    count = 0
    with (at / "frames").open("rb", buffering=0) as file:
        while chunk := file.read(1 << 18):
            decoder.receive(chunk)
            for frame in decoder.frames():
                batch = messages.decode(frame.header)
                assert isinstance(batch, messages.Batch)
                count += len(batch.changes)
    (at / "count").write_text(str(count))


def settle(at: Path, params: Params) -> None:
    """Process a burst of hints for a tenth as many paths, and all work that results from it."""
    from replicator.core.debouncer import Debouncer
    from replicator.model import Hint, Hinted

    made = random.Random(data.SEED)
    settler = Debouncer(cooldown=0.5, max_wait=10.0, limit=1_000_000)
    events = params["events"]
    now, done = 0.0, set()
    for _ in range(events):
        now += 1e-5
        path = b"d%d/f%d" % divmod(made.randrange(max(1, events // 10)), 100)
        settler.hint(Hint(made.choice((Hinted.WRITTEN, Hinted.CLOSED, Hinted.CHANGED)), path), now)
    while (due := settler.deadline()) is not None:
        now = max(now, due)
        done |= {work.path for work in settler.ready(now)}
    (at / "count").write_text(str(len(done)))


def _load() -> None:
    import replicator.core.debouncer
    import replicator.engine.changes.create
    import replicator.engine.changes.encode
    import replicator.wire.messages  # noqa: F401  # what is measured


def _write_content(at: Path, params: Params) -> None:
    (at / "content").write_bytes(data.noise(params["size"]))


def _write_frames(at: Path, params: Params) -> None:
    _write_content(at, params)
    encode(at, params)


def _check_frames(_: str, at: Path, __: Params) -> None:
    from replicator.wire import frames

    decoder, found = frames.Decoder(), hashlib.sha256()
    decoder.receive((at / "frames").read_bytes())
    for frame in decoder.frames():
        found.update(frame.payload)
    assert found.digest() == hashlib.sha256((at / "content").read_bytes()).digest()


def _check_count(_: str, at: Path, params: Params) -> None:
    assert int((at / "count").read_text()) == -(-params["size"] // FILES)


def _check_settled(_: str, at: Path, params: Params) -> None:
    paths = params["events"] // 10
    assert 0.98 * paths < int((at / "count").read_text()) <= paths


CASES = [
    Case(
        "frames-encode", "4 KiB files into batches", {"replicator": timed(encode)},
        _write_content, _check_frames, variants=({"size": 256 << 20, "bulky": True},), tiny={"size": 256 << 10}, load=_load,
    ),
    Case(
        "frames-decode", "batches into changes", {"replicator": timed(decode)},
        _write_frames, _check_count, variants=({"size": 256 << 20, "bulky": True},), tiny={"size": 256 << 10}, load=_load,
    ),
    Case(
        "settle", "a burst of hints on a tenth as many paths", {"replicator": timed(settle)},
        lambda _, __: None, _check_settled, variants=({"events": 100_000},), tiny={"events": 5_000}, load=_load,
    ),
]  # fmt: skip
