"""What `aws s3 sync` would do: each file an object; the backend uploads them, and each frontend downloads what it lacks, with boto3."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.stage import Host
from bench.whole.systems import store
from bench.whole.systems.job import Job, System, together

THREADS = 10
"""Transfers at a time, as many as the AWS command line tool makes by default."""

ROOT = Path(__file__).parents[3]


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
        client = _client(self._store.url)
        files = [path for path in self.job.source.rglob("*") if path.is_file()]

        def upload(path: Path) -> None:
            key = str(path.relative_to(self.job.source))
            client.put_object(Bucket=store.BUCKET, Key=key, Body=path.read_bytes())

        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(upload, files))
        client.delete_object(Bucket=store.BUCKET, Key="first")
        self.fill(hosts)

    def fill(self, hosts: Sequence[Host]) -> None:
        """Have each frontend download, all at the same time."""
        job = self.job
        module = [sys.executable, "-m", __name__, self._store.url, job.target]
        there = f"cd {shlex.quote(str(ROOT))} && {shlex.join(module)}"
        together(
            [[*job.stage.ssh_options(host), f"{host.user}@{host.address}", there] for host in hosts]
        )

    def stop(self) -> None:
        """End the store."""
        super().stop()
        self._store.stop()


def _client(url: str) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3", endpoint_url=url, region_name=store.REGION, aws_access_key_id=store.KEY,
        aws_secret_access_key=store.KEY, config=Config(max_pool_connections=THREADS),
    )  # fmt: skip


def download(url: str, target: str) -> None:
    """Download the objects that are not there with the same size; on a frontend."""
    client = _client(url)
    lacking = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=store.BUCKET):
        for one in page.get("Contents", ()):
            path = os.path.join(target, one["Key"])
            if not os.path.exists(path) or os.path.getsize(path) != one["Size"]:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                lacking.append((one["Key"], path))

    def fetch(one: tuple[str, str]) -> None:
        key, path = one
        temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}")
        with open(temporary, "wb") as file:
            file.write(client.get_object(Bucket=store.BUCKET, Key=key)["Body"].read())
        os.rename(temporary, path)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(fetch, lacking))


if __name__ == "__main__":
    download(*sys.argv[1:])
