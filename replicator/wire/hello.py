"""The first message of both sides: wire version and features."""

from __future__ import annotations

from typing import Any, NamedTuple, Sequence

from replicator.wire import fields

VERSION = 1

REQUIRED = ("delta", "digest", "move")
"""Features of every release: the two sides cannot work together without them."""

FEATURES = (
    *REQUIRED,
    "after",
    "alive",
    "boot",
    "compress",
    "digests",
    "durable",
    "granularity",
    "identity",
    "link",
    "rate",
    "restore",
    "sources",
    "stamp",
    "sums",
)
"""Features of this side. Successive releases work together: a message or field that the first release lacks has a name here, and is
used only if both sides list that name; each has a fallback for a peer that does not.

* `after`: `list` may ask for the paths after a given one, to continue an interrupted listing.
* `alive`: an agent that is busy with one change for long sends empty `acks` meanwhile. Without it, the agent is silent.
* `boot`: the agent's `hello` carries the id of its machine's boot, and `open` names the ready file.
* `compress`: payloads may be compressed (field `z`). Without it, they are not.
* `digests`: the agent makes digests of directories, and `list` may leave out directories whose digests are equal. Without it, everything
  is listed.
* `durable`: `open` may ask for changes to be acknowledged only once they are on disk.
* `granularity`: `opened` carries the granularity of modification times. Without it, 1 ns is assumed.
* `identity`: `opened` identifies the target directory, and says who could have replaced it. Without it, any directory is used.
* `link`: a file can be hard-linked or copied on the frontend (`h`). Without it, the content is sent.
* `rate`: `list` may limit how many bytes per second are hashed. Without it, the agent reads as fast as it can.
* `restore`: the agent can restore a tree from its base in an object store. Without it, everything is sent over SSH.
* `sources`: the backend tells the agent when a source appears or becomes another directory. Without it, an open target is not checked
  again.
* `stamp`: `open` may name a file that is replaced after each batch of changes. Without it, there is no such file.
* `sums`: the agent sums the blocks of a file, `file` may name the version that was summed, and all `data` is acknowledged. Without it, a
  large file that changed while the frontend was away is sent whole.
"""

MAX_FEATURES = 64
"""Features in a `hello`."""

_FEATURE = fields.sentence(64)


class Hello(NamedTuple):
    """First message of each side: wire version, features, a description of the sender, and the id of the agent's boot."""

    version: int
    features: tuple[str, ...]
    about: str = ""
    boot: str = ""

    def header(self) -> dict[str, Any]:
        """Return the frame header."""
        header = {
            "t": "hello",
            "version": self.version,
            "features": list(self.features),
            "about": self.about,
        }
        return {**header, "boot": self.boot} if self.boot else header


def parse_hello(header: dict[str, Any]) -> Hello:
    """Return the message in a frame header. Raises ProtocolError, and KeyError for a missing field."""
    names: Sequence[str] = [
        _FEATURE(name) for name in fields.array(header["features"], MAX_FEATURES)
    ]
    return Hello(
        fields.number(header["version"]),
        tuple(names),
        fields.words(header["about"]),
        fields.short(header.get("boot", "")),  # not shown to the operator, so not escaped
    )
