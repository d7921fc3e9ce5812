"""About what `aws s3 sync` does: each file an object; the backend uploads them, and each frontend downloads what it lacks, with boto3."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.stage import Host
from bench.whole.systems import store
from bench.whole.systems.job import Job, System, together
from bench.whole.systems.object_download import THREADS, client

PROGRAM = Path(__file__).with_name("object_download.py")


class ObjectSync(System):
    """Uploads the source when it starts. Frontends need boto3, so they must be on this machine."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._store = store.Store(job.place / "store")

    @property
    def bystanders(self) -> set[int]:
        """The store."""
        return {self._store.pid}

    def start(self, hosts: Sequence[Host]) -> None:
        """Upload everything."""
        uploads = client(self._store.url, store.KEY)
        files = [path for path in self.job.source.rglob("*") if path.is_file()]

        def upload(path: Path) -> None:
            key = str(path.relative_to(self.job.source))
            uploads.put_object(Bucket=store.BUCKET, Key=key, Body=path.read_bytes())

        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(upload, files))
        uploads.delete_object(Bucket=store.BUCKET, Key="first")
        self.fill(hosts)

    def fill(self, hosts: Sequence[Host]) -> None:
        """Have each frontend download, all at the same time."""
        job = self.job
        there = shlex.join(
            [sys.executable, str(PROGRAM), self._store.url, store.KEY, store.BUCKET, job.target]
        )
        together(
            [[*job.stage.ssh_options(host), f"{host.user}@{host.address}", there] for host in hosts]
        )

    def stop(self) -> None:
        """End the store."""
        super().stop()
        self._store.stop()
