"""The delta path on one file: signature, delta, patch.

`replicator` includes the SHA-256 that it promises; `replicator-bare` leaves it out, as rdiff does. rdiff gets our block size. rsync
does the whole work at once (signature, delta, patch, verification), and is shown beside the delta.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from bench import data
from bench.case import Case, Params, Work, timed
from bench.peers import call, missing

CHUNK = 1 << 20
MULTIPLIER = 2_654_435_761


def chunks(path: Path) -> Iterator[bytes]:
    """Yield a file as replicator reads it."""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            yield chunk


def load() -> None:
    """Import what the work needs; `timed` fails if something of ours is missing here."""
    import concurrent.futures.thread  # noqa: F401  # an agent does so once, for its first large file

    import replicator.agent.roots
    import replicator.agent.transfer
    import replicator.delta.matching
    import replicator.engine.changes.encode  # noqa: F401  # so that no import is measured


# Signature


def sign(at: Path, _: Params, *, digest: bool = True) -> int:
    """Make the signature of `old`."""
    from replicator.delta.signature import Signer, block_size_for

    signer = Signer(block_size_for((at / "old").stat().st_size), MULTIPLIER)
    whole = hashlib.sha256()
    for chunk in chunks(at / "old"):
        signer.update(chunk)
        if digest:
            whole.update(chunk)
    packed = signer.finish().pack()
    (at / "signature").write_bytes(packed)
    return len(packed)


def rdiff_sign(at: Path, _: Params) -> int:
    """The same by librsync."""
    call("rdiff", "-f", "-b", _block(at), "signature", at / "old", at / "rdiff.signature")
    return (at / "rdiff.signature").stat().st_size


def check_signature(contestant: str, at: Path, params: Params) -> None:
    """A signature is right if the delta made with it is."""
    DELTAS[contestant](at, params)
    check_delta(contestant, at, params)


# Delta


def delta(at: Path, _: Params, *, digest: bool = True) -> int:
    """Compare `new` with the signature of `old`, and write the frames that would be sent."""
    from replicator.delta.matching import Matcher
    from replicator.delta.signature import Signature
    from replicator.engine.changes.encode import data_frame

    matcher = Matcher(Signature.unpack((at / "signature").read_bytes()))
    whole = hashlib.sha256()
    with (at / "delta").open("wb") as out:
        for chunk in chunks(at / "new"):
            if digest:
                whole.update(chunk)
            for op in matcher.feed(chunk):
                out.write(data_frame(1, [op]))
        for op in matcher.finish():
            out.write(data_frame(1, [op]))
    return (at / "delta").stat().st_size


def rdiff_delta(at: Path, _: Params) -> int:
    """The same by librsync."""
    call("rdiff", "-f", "delta", at / "rdiff.signature", at / "new", at / "rdiff.delta")
    return (at / "rdiff.delta").stat().st_size


def rsync_all(at: Path, _: Params) -> None:
    """Turn a copy of `old` into `new`, with everything that belongs to it."""
    call("rsync", "--no-whole-file", "--ignore-times", at / "new", at / "rsync.copy")


def check_delta(contestant: str, at: Path, params: Params) -> None:
    """Apply it, and compare what comes out."""
    if contestant == "rsync":
        assert (at / "rsync.copy").read_bytes() == (at / "new").read_bytes()
    else:
        PATCHES[contestant.removesuffix("-bare")](at, params)
        check_patch(contestant, at, params)


# Patch


def patch(at: Path, _: Params) -> None:
    """Apply the frames to `old` as an agent does, digest and rename included."""
    from replicator.agent.fencing import FencingTokens
    from replicator.agent.roots import open_tree
    from replicator.agent.transfer import Transfer
    from replicator.wire import frames, messages
    from replicator.wire.changes import PutFile

    site = at / "site"
    site.mkdir(exist_ok=True)
    (site / "file").unlink(missing_ok=True)
    os.link(at / "old", site / "file")
    size, digest = (at / "new").stat().st_size, (at / "new.sha256").read_bytes()
    put = PutFile(1, 1, b"file", 0o644, size, 10**18, digest)
    target = messages.OpenTree(1, os.fsencode(site))
    store = open_tree(target, session=b"bench", pin_root=None, tokens=FencingTokens())
    transfer = Transfer(store, put, delta=True)
    decoder = frames.Decoder()
    for chunk in chunks(at / "delta"):
        decoder.receive(chunk)
        for frame in decoder.frames():
            message = messages.decode(frame.header)
            assert isinstance(message, messages.Data)
            transfer.feed(message.pairs, frame.payload)
    transfer.finish()
    store.settle()
    store.tree.close()


def rdiff_patch(at: Path, _: Params) -> None:
    """The same by librsync, which verifies nothing."""
    call("rdiff", "-f", "patch", at / "old", at / "rdiff.delta", at / "rdiff.new")


def check_patch(contestant: str, at: Path, _: Params) -> None:
    """What came out is `new`."""
    made = at / ("rdiff.new" if contestant == "rdiff" else "site/file")
    assert made.read_bytes() == (at / "new").read_bytes()


SIGNATURES: dict[str, Work] = {
    "replicator": sign,
    "replicator-bare": partial(sign, digest=False),
    "rdiff": rdiff_sign,
}
DELTAS: dict[str, Work] = {
    "replicator": delta,
    "replicator-bare": partial(delta, digest=False),
    "rdiff": rdiff_delta,
    "rsync": rsync_all,
}
PATCHES: dict[str, Work] = {
    "replicator": patch,
    "rdiff": rdiff_patch,
}


def write_digest(at: Path) -> None:
    """Write what `new` must come out as."""
    (at / "new.sha256").write_bytes(hashlib.sha256((at / "new").read_bytes()).digest())


def _prepare(at: Path, params: Params, *, edit: str, until: str) -> None:
    """Make everything that comes before the step which is measured, and nothing of that."""
    data.write_pair(at, params["size"], edit)
    (at / "rsync.copy").write_bytes((at / "old").read_bytes())
    write_digest(at)
    steps = {"signature": (sign, rdiff_sign), "delta": (delta, rdiff_delta), "patch": ()}
    for name, works in steps.items():
        if name == until:
            return
        for work in works[: 1 if missing("rdiff") else 2]:
            work(at, params)


def _block(at: Path) -> int:
    from replicator.delta.signature import block_size_for

    return block_size_for((at / "old").stat().st_size)


def _case(name: str, about: str, works: Mapping[str, Work], edit: str, until: str) -> Case:
    checks = {"signature": check_signature, "delta": check_delta, "patch": check_patch}
    return Case(
        name,
        about,
        {who: timed(work) for who, work in works.items()},
        partial(_prepare, edit=edit, until=until),
        checks[until],
        variants=({"size": 4 << 20, "bulky": True}, {"size": 256 << 20, "bulky": True}),
        tiny={"size": 256 << 10, "bulky": True},
        load=load,
    )


CASES = [
    _case("signature", "block sums of a file", SIGNATURES, "scattered", "signature"),
    *(
        _case(f"delta-{edit}", f"a new version against a signature: {about}", DELTAS, edit, "delta")
        for edit, (_, about) in data.PAIRS.items()
    ),
    _case("patch", "apply a delta of scattered edits, verify, publish", PATCHES, "scattered", "patch"),
]  # fmt: skip
