"""Very many deletions at once: uploads wait for no bulk change."""

import shutil

from replicator.engine.ingest.deletions import Deletions
from tests.support.backend import Backend
from tests.support.waiting import wait_for

MANY = 300


def test_uploads_are_published_between_deletions_that_were_held_back(tmp_path, monkeypatch):
    release = Deletions.release

    def stalled(deletions):
        """Release one after the other, and none until the upload has arrived."""
        return release(deletions, 1 if arrived() else 0)

    with Backend(tmp_path, tree={"delete_guard": 0.99}) as backend:
        (backend.source / "bulk").mkdir()
        for number in range(MANY):
            (backend.source / "bulk" / f"{number}").touch()
        for number in range(MANY // 10):
            (backend.source / f"{number}").touch()
        backend.wait_until_equal()

        def arrived():
            return all((backend.site(host) / "upload").exists() for host in backend.hosts)

        monkeypatch.setattr(Deletions, "release", stalled)
        (pipeline,) = backend.app.service.pipelines.values()
        shutil.rmtree(backend.source / "bulk")
        wait_for(lambda: pipeline.deletions.has_released, backend.explain)
        assert backend.status()["trees"][0]["pending"] >= MANY - 100, "they are pending"
        (backend.source / "upload").write_bytes(b"upload")
        wait_for(arrived, backend.explain)
        backend.wait_until_equal()
