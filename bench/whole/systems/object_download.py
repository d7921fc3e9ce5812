"""Download the objects of a bucket that a directory lacks. It runs on a frontend, so it imports nothing of replicator."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

THREADS = 10
"""Transfers at a time, as many as the AWS command line tool makes by default."""


def client(url: str, key: str) -> Any:
    """Return a client of the store at `url`."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id=key,
        aws_secret_access_key=key, config=Config(max_pool_connections=THREADS),
    )  # fmt: skip


def download(url: str, key: str, bucket: str, target: str) -> None:
    """Download the objects that are not in a directory with the same size."""
    store = client(url, key)
    lacking = []
    for page in store.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for one in page.get("Contents", ()):
            path = os.path.join(target, one["Key"])
            if not os.path.exists(path) or os.path.getsize(path) != one["Size"]:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                lacking.append((one["Key"], path))

    def fetch(one: tuple[str, str]) -> None:
        name, path = one
        temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}")
        with open(temporary, "wb") as file:
            file.write(store.get_object(Bucket=bucket, Key=name)["Body"].read())
        os.rename(temporary, path)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(fetch, lacking))


if __name__ == "__main__":
    download(*sys.argv[1:])
