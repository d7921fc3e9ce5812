"""Test the object store of the base: write an object, read it as a frontend does, list it and delete it."""

from __future__ import annotations

import secrets
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator

from replicator.app.base import store_of
from replicator.config import Config
from replicator.doctor.finding import Finding
from replicator.errors import StoreError
from replicator.ports import ObjectStore

WITHIN = 15.0
"""Seconds within which the store must answer."""

_WHY = "new frontends are filled over SSH instead, which costs the backend CPU time"
_GRANT = "docs/iam-policy.json has the permissions"


def base_findings(config: Config) -> Iterator[Finding]:
    """Yield findings about the object store of `base.url`, if there is one. Blocks."""
    if not config.base.url:
        return
    subject, store = f"base {config.base.url}", store_of(config)
    try:
        _round_trip(store)
        yield Finding("ok", subject, "objects can be written, read by URL, listed and deleted")
    except StoreError as error:
        yield Finding("warn", subject, str(error), _WHY, _GRANT)
    finally:
        store.close()


def _round_trip(store: ObjectStore) -> None:
    """Raise StoreError if anything fails. The object has a name that no publication uses."""
    name, content = f"check/{secrets.token_hex(8)}", secrets.token_bytes(1000)
    store.put(name, content, lambda _: None)
    try:
        if _fetch(store.url(name, 60)) != content:
            raise StoreError("an object that was read by its URL has other bytes than were written")
        if name not in {one.name for one in store.list("check/")}:
            raise StoreError("an object that was written is not listed")
    finally:
        store.delete([name])
    store.abort_uploads(0.0)  # needs a permission of its own; no upload is as old as that


def _fetch(url: str) -> bytes:
    """Read a URL. Errors never quote it, because it is a secret."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=WITHIN) as answer:
            data: bytes = answer.read(1 << 20)
    except urllib.error.HTTPError as error:
        raise StoreError(
            f"reading an object by its URL was refused: {error.code} {error.reason}"
        ) from None
    except (OSError, ValueError) as error:
        raise StoreError(f"an object cannot be read by its URL: {_cause(error)}") from None
    return data


def _cause(error: Exception) -> str:
    """Return why a URL cannot be read, as a clause without the URL."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return type(cause).__name__
