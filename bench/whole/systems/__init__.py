"""The contestants of the end-to-end cases: how each is set up, and told what to do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench.whole.systems.job import Job, System
from bench.whole.systems.lsyncd import Lsyncd
from bench.whole.systems.object_sync import ObjectSync
from bench.whole.systems.replicator import Cold, Observed, Replicator, WithBase
from bench.whole.systems.rsync import Rsync
from bench.whole.systems.syncthing import Syncthing
from bench.whole.systems.unison import Unison

SYSTEMS: dict[str, Callable[[Job], System]] = {
    "replicator": Replicator,
    "replicator-unlimited": partial(Replicator, concurrency=100),
    "replicator-base": WithBase,
    "replicator-observed": Observed,
    "replicator-cold": Cold,
    "rsync": Rsync,
    "rsync-aes": partial(Rsync, cipher="aes128-gcm@openssh.com"),
    "s3-sync": ObjectSync,
    "lsyncd": Lsyncd,
    "lsyncd-tuned": partial(Lsyncd, tuned=True),
    "unison": Unison,
    "unison-spin": partial(Unison, pause=0),
    "syncthing": Syncthing,
}
"""By contestant."""
