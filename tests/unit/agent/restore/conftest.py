"""A source, its store and a target, for tests of restores."""

import os

import pytest

from replicator.agent.restore import fetch, http_connection
from tests.support.http_store import HttpStore

TIME = 1_600_000_000_123_456_789
OLD = 1_500_000_000_000_000_000


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(http_connection, "GRACE", 0.3)
    monkeypatch.setattr(fetch, "PAUSE", 0.001)


@pytest.fixture
def http():
    with HttpStore() as http:
        yield http


@pytest.fixture
def source(tmp_path):
    """Return a tree of 90 files in nine packs."""
    root = tmp_path / "source"
    for d in range(9):
        (root / f"d{d}" / "sub").mkdir(parents=True)
        for f in range(10):
            path = root / f"d{d}" / ("sub" if f % 2 else ".") / f"f{f}"
            path.write_bytes(b"%d-%d " % (d, f) * 500)
            path.chmod(0o640 if f else 0o600)
            os.utime(path, ns=(TIME + f, TIME + f))
    (root / "d1" / "empty").touch()
    (root / "d2" / "link").symlink_to("../d1/f0")
    (root / "d3" / "name \xff\n").write_bytes(b"odd")
    for path in (*root.rglob("*"), root):
        if path.is_dir():
            path.chmod(0o750)
            os.utime(path, ns=(OLD, OLD))
    return root


@pytest.fixture
def target(tmp_path):
    (tmp_path / "target").mkdir()
    return tmp_path / "target"
