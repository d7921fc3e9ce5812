"""Build the publisher of the base that the settings ask for."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from replicator import statefile
from replicator.base.publisher import Publisher
from replicator.config import Config
from replicator.engine.tree import Tree
from replicator.errors import ReplicatorError
from replicator.ports import ObjectStore
from replicator.store.s3 import S3Store


def store_of(config: Config) -> ObjectStore:
    """Return the object store of `base.url`."""
    bucket, prefix = config.base.place
    return S3Store(bucket, prefix, region=config.base.region, endpoint=config.base.endpoint)


def publisher_of(config: Config, trees: Callable[[], Iterable[Tree]]) -> Publisher | None:
    """Return the publisher of the base; None if none is configured.

    Raises:
        ReplicatorError: if the state directory cannot be written.
    """
    if not config.base.url:
        return None
    directory = Path(config.state.directory)
    return Publisher(
        store_of(config),
        _identity(directory / "base.json"),
        directory,
        trees,
        bandwidth=config.base.bytes_per_second,
        interval=config.base.interval,
        give_up=config.discovery.give_up,
    )


def _identity(path: Path) -> str:
    """Return the identity of the state directory, by which its base is known in the store; made when there is none."""
    try:
        identity = json.loads(path.read_text("utf-8"))["identity"]
        if isinstance(identity, str) and identity:
            return identity
    except (
        OSError,
        ValueError,
        TypeError,
        LookupError,
    ):  # missing, or damaged: the store then asks for `--take-over`
        pass
    identity = secrets.token_hex(16)
    try:
        statefile.replace(path, json.dumps({"identity": identity}))
    except OSError as error:
        raise ReplicatorError(f"{path} cannot be written: {error.strerror}") from error
    return identity
