"""An object store that speaks the protocol of Amazon S3; the only module that calls boto3 for it.

boto3 finds and refreshes the credentials (environment, profile, container, instance role); the settings of replicator hold none.
"""

from __future__ import annotations

import base64
import hashlib
import io
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from replicator.errors import StoreError
from replicator.ports import Pace, Stored, Versioned
from replicator.store.failures import ABSENT, TAKEN, UNKNOWN, code_of, translated

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0

ATTEMPTS = 1
"""Attempts of botocore for one request. A paced body cannot be sent twice, and after a failure the caller waits by itself."""

SEALED = 1 << 20
"""Bytes up to which an upload carries its MD5: of a pack, it would take as long as its SHA-256."""

LARGEST = 1 << 20
"""Bytes in an object that is written on a condition, at most."""

DELETED = 1000
"""Objects in one request to delete them: S3's limit."""


class S3Store:
    """The objects below one prefix of a bucket; see `ports.ObjectStore`.

    Args:
        bucket: its name.
        prefix: text before the names of all objects: empty, or with a slash at its end.
        region: name of the region; empty: as boto3 finds it.
        endpoint: URL of a store other than Amazon's; empty: Amazon's.
    """

    def __init__(self, bucket: str, prefix: str, *, region: str = "", endpoint: str = "") -> None:
        self.requests = 0
        self.bytes_sent = 0
        self._bucket = bucket
        self._prefix = prefix
        self._region = region
        self._endpoint = endpoint
        self._where = f"s3://{bucket}"
        self._lock = threading.Lock()
        self._made: Any = None
        self._pace = threading.local()

    def put(self, name: str, body: bytes, pace: Pace) -> None:
        """Write an object, or replace it; see `ports.ObjectStore`."""
        with translated(self._where), self._paced(pace):
            self._client.put_object(**self._object(name), **_sealed(body))
        self.bytes_sent += len(body)

    def swap(self, name: str, body: bytes, version: str | None) -> str | None:
        """Write an object if it still has this version; see `ports.ObjectStore`."""
        condition = {"IfNoneMatch": "*"}
        if version is not None:
            condition = {"IfMatch": version} if version else {}
        answer = self._put_if(name, body, condition)
        if answer is None:
            return None
        self.bytes_sent += len(body)
        return str(answer.get("ETag", ""))

    def _put_if(self, name: str, body: bytes, condition: dict[str, str]) -> dict[str, Any] | None:
        """Write an object on a condition; return None if it is not met."""
        from botocore.exceptions import ClientError

        with translated(self._where):
            upload = {**self._object(name), **_sealed(body)}
            try:
                answer: dict[str, Any] = self._client.put_object(**upload, **condition)
            except ClientError as error:
                if code_of(error) in TAKEN or ("IfMatch" in condition and code_of(error) in ABSENT):
                    return None
                if code_of(error) not in UNKNOWN:
                    raise
                if "IfNoneMatch" in condition and self.load(name, LARGEST) is not None:
                    return None
                answer = self._client.put_object(**upload)
        return answer

    def put_parts(self, name: str, parts: Iterable[bytes], pace: Pace) -> None:
        """Write an object in parts; see `ports.ObjectStore`."""
        with translated(self._where), self._paced(pace):
            client, where = self._client, self._object(name)
            upload = {**where, "UploadId": client.create_multipart_upload(**where)["UploadId"]}
            try:
                done = []
                for number, part in enumerate(parts, 1):
                    answer = client.upload_part(**upload, PartNumber=number, Body=part)
                    done.append({"PartNumber": number, "ETag": answer["ETag"]})
                    self.bytes_sent += len(part)
                client.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})
            except BaseException:
                with suppress(Exception):  # what remains is removed by `abort_uploads`
                    client.abort_multipart_upload(**upload)
                raise

    def get(self, name: str, limit: int) -> bytes | None:
        """Return the bytes of an object; None if there is none."""
        found = self.load(name, limit)
        return None if found is None else found.body

    def load(self, name: str, limit: int) -> Versioned | None:
        """Return the bytes of an object with its version; None if there is none."""
        from botocore.exceptions import ClientError

        with translated(self._where):
            try:
                answer = self._client.get_object(**self._object(name))
            except ClientError as error:
                if code_of(error) in ABSENT:
                    return None
                raise
            with answer["Body"] as body:
                found: bytes = body.read(limit + 1)
        if len(found) > limit:
            raise StoreError(f"{self._where}: {name} has more than {limit} bytes")
        if len(found) != answer["ContentLength"]:
            raise StoreError(f"{self._where}: {name} was cut off")
        return Versioned(found, str(answer.get("ETag", "")))

    def list(self, below: str) -> Iterator[Stored]:
        """Yield the objects whose names begin with `below`."""
        with translated(self._where):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + below
            )
            more = True
            for page in pages:
                rows, more = page.get("Contents", []), page.get("IsTruncated")
                if more is None or page.get("KeyCount", len(rows)) != len(rows):
                    raise StoreError(
                        f"{self._where}: the list of {below} is malformed or incomplete"
                    )
                for row in rows:
                    name = row["Key"].removeprefix(self._prefix)
                    yield Stored(name, row["Size"], row["LastModified"].timestamp())
            if more:  # botocore ends at a page that names no next one
                raise StoreError(f"{self._where}: the list of {below} ends before it is complete")

    def delete(self, names: Sequence[str]) -> None:
        """Delete objects; those that do not exist count as deleted."""
        for first in range(0, len(names), DELETED):
            rows = [{"Key": self._prefix + name} for name in names[first : first + DELETED]]
            with translated(self._where):
                answer = self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": rows, "Quiet": True}
                )
            for row in answer.get("Errors", ()):
                if row.get("Code") not in ABSENT:
                    why = f"{row.get('Code')}: {row.get('Message')}"
                    raise StoreError(f"{self._where}: {row.get('Key')} was not deleted: {why}")

    def abort_uploads(self, older: float) -> int:
        """Discard the parts of old uploads that were never completed; see `ports.ObjectStore`."""
        count = 0
        with translated(self._where):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=self._prefix
            )
            for upload in [row for page in pages for row in page.get("Uploads", ())]:
                if upload["Initiated"].timestamp() < older:
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                    )
                    count += 1
        return count

    def url(self, name: str, seconds: int) -> str:
        """Return a URL at which anyone can read an object for some time."""
        with translated(self._where):
            url: str = self._client.generate_presigned_url(
                "get_object", Params=self._object(name), ExpiresIn=seconds
            )
        return url

    def close(self) -> None:
        """Release connections."""
        with self._lock:
            if self._made is not None:
                self._made.close()

    def _object(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + name}

    @property
    def _client(self) -> Any:  # noqa: ANN401  # boto3 makes its class at run time
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made

    def _make(self) -> Any:  # noqa: ANN401
        # Imported here because the import takes a third of a second, and only users of a base need it.
        import boto3
        from botocore.config import Config

        session = boto3.session.Session(region_name=self._region or None)
        settings = Config(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
            user_agent_extra="replicator",
            signature_version="s3v4",
            # Other stores do not know the checksums that botocore adds to each request otherwise.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # With "auto", URLs for frontends have the global host, which redirects to the region of a new bucket. The certificate of
            # a virtual host covers no name with dots.
            s3={"addressing_style": "path" if self._endpoint or "." in self._bucket else "virtual"},
        )
        client = session.client(
            "s3",
            # A store of one's own usually has no regions, but the signature needs one.
            region_name=session.region_name or ("us-east-1" if self._endpoint else None),
            endpoint_url=self._endpoint or None,
            config=settings,
        )
        client.meta.events.register("before-send.s3", self._before_send)
        return client

    def _paced(self, pace: Pace) -> _Paced:
        return _Paced(self._pace, pace)

    def _before_send(self, request: Any, **_: object) -> None:  # noqa: ANN401
        """Count each attempt of a request, and pace its body. botocore has signed the body before."""
        with self._lock:
            self.requests += 1
        body = request.body
        if body is not None and not isinstance(body, bytes):
            body = body.read()
        if not body:
            # SeaweedFS answers an empty upload at once and sends the `100 Continue` that botocore asks for afterwards: the next
            # request on the connection takes that for its answer.
            request.headers.pop("Expect", None)
        pace = getattr(self._pace, "now", None)
        request.body = _Body(body, pace) if body and pace is not None else body


def _sealed(body: bytes) -> dict[str, Any]:
    """Return a body, and if it is small its MD5, so that a store that keeps what arrived of a request refuses a part of it.

    SeaweedFS 4.48 makes an empty object of a request that ends after its headers. An empty pack counts as missing; a pointer would be lost.
    """
    if len(body) > SEALED:
        return {"Body": body}
    md5 = hashlib.md5(body, usedforsecurity=False).digest()
    return {"Body": body, "ContentMD5": base64.b64encode(md5).decode()}


class _Paced:
    """Sets the pace of the uploads of this thread until the context ends."""

    def __init__(self, local: threading.local, pace: Pace) -> None:
        self._local = local
        self._pace = pace

    def __enter__(self) -> None:
        self._local.now = self._pace

    def __exit__(self, *_: object) -> None:
        self._local.now = None


class _Body(io.BytesIO):
    """The body of an upload, which is read at a pace."""

    STEP = 64 << 10

    def __init__(self, data: bytes, pace: Pace) -> None:
        super().__init__(data)
        self._pace = pace

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes, at most STEP."""
        wanted = self.STEP if size is None or size < 0 else min(size, self.STEP)
        data = super().read(wanted)
        if data:
            self._pace(len(data))
        return data
