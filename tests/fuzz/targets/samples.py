"""Valid messages of both peers, from which the seeds are encoded."""

import hashlib
import json

from replicator.model import DIRECTORY, FILE, SYMLINK, Entry, Listed, Unlisted
from replicator.wire import frames, messages
from replicator.wire.changes import (
    DENIED,
    Delete,
    MakeDirectory,
    MakeSymlink,
    Move,
    PutFile,
    SetAttributes,
)
from replicator.wire.messages import (
    Acks,
    Batch,
    BeginFile,
    BlockSums,
    Data,
    Descend,
    Digests,
    DigestTree,
    EndRestore,
    Hello,
    Listing,
    ListTree,
    More,
    NeedUrls,
    Opened,
    OpenTree,
    Origin,
    Restore,
    Restored,
    Sources,
    SumBlocks,
    Urls,
)

HELLO = b"hello"
DIGEST = hashlib.sha256(HELLO).digest()
TIME = 1_500_000_000_123_456_789
HI = Hello(messages.VERSION, messages.FEATURES, "a peer")


def put(path, number=1, content=HELLO, mode=0o644):
    return PutFile(number, 1, path, mode, len(content), TIME, hashlib.sha256(content).digest())


CHANGES = (
    put(b"new"),
    MakeDirectory(2, 1, b"dir/\xff\xfe", 0o750, TIME),
    MakeSymlink(3, 1, b"dir/sym", -TIME, b"../else/\xff"),
    SetAttributes(4, 1, b"dir/file", 0o600, 5, TIME, TIME - 1, b""),
    SetAttributes(5, 1, b"dir/file", 0o600, 5, TIME, 0, DIGEST),
    Move(6, 1, b"dir/file", b"moved"),
    Delete(7, 1, b"moved"),
    Delete(8, 1, b"dir"),
)
LINES = (
    Listed(b"a", Entry(DIRECTORY, 0o755, 0, TIME), 0, 0),
    Listed(b"a/b", Entry(FILE, 0o644, 5, TIME, b"", DIGEST), 0, 0),
    Listed(b"a.x", Entry(SYMLINK, 0, 0, TIME, b"to/\xff"), 1000, 2**32 - 1),
    Listed(b"\xff\xfe", Entry(FILE, 0o4755, 2**40, -TIME), -1, -1),
)
UNLISTED = (Unlisted(b"a/shut", "Permission denied"), Unlisted(b"", "I/O error"))
LISTING = Listing(1, LINES, UNLISTED, end=True)

ORIGIN = Origin("boot", ((1, 2),), ((1, 1),), ((1, 1, b"to/come"),))

FROM_BACKEND = (
    HI,
    OpenTree(1, b"/site", "0:0"),
    Sources(ORIGIN),
    OpenTree(1, b"/site", "0:0", origin=ORIGIN),
    Batch(CHANGES),
    BeginFile(put(b"large", 9), delta=False),
    BeginFile(put(b"large", 9), delta=True, base="5-1-2-3"),
    Data(9, [[-1, 3]]),
    Data(9, [[-1, 2]], end=True),
    Data(9, [], cancel=True),
    ListTree(1, 1, b"", digest=True, credit=4),
    ListTree(2, 1, b"a", digest=False, credit=1),
    ListTree(3, 1, b"", digest=True, credit=4, after=b"a", rate=1 << 20),
    More(1, 1),
    Restore(1, DIGEST, 5, "http://127.0.0.1:1/x", 10),
    Urls(1, ((-1, "http://127.0.0.1:1/x"), (0, ""))),
    EndRestore(1),
    DigestTree(3, 1, b"", 0o1777, credit=4, skipped=(b".replicator", b"a/ready")),
    Descend(3, (b"",), (b"a", b"dir/\xff")),
    ListTree(4, 1, b"", digest=False, credit=4, walk=3),
    SumBlocks(1, 1, b"a/b", 0, 1 << 20, 4096, 5, 0, 100),
)
FROM_AGENT = (
    HI,
    Opened(1, -1, 0),
    Opened(1, -1, -1, "No such file or directory"),
    LISTING,
    Acks((1, 2), ((3, DENIED, "Permission denied"),), 10),
    NeedUrls(1, (-1, 0)),
    Restored(1, 1, 5, 2, 3, "no_space", end=True),
    BlockSums(1, 5, "5-1-2-3"),
    BlockSums(2),
    Digests(3, ((b"", DIGEST),), 5, end=True),
    Digests(3, ((b"a", DIGEST), (b"dir/\xff", b"")), 0, end=False),
)


def text(message):
    """Return a message's header as sent: JSON bytes."""
    return json.dumps(message.header()).encode()


def stream(*sent):
    """Return the frames of messages, or of pairs (message, payload)."""
    pairs = [one if type(one) is tuple else (one, b"") for one in sent]
    return b"".join(frames.encode(message.header(), [payload]) for message, payload in pairs)
