"""HTTP clients: a browser with cookies, and threads that send requests and record the answers."""

import collections
import http.client
import http.cookies
import secrets
import struct
import threading
import time
import urllib.parse
import zlib
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def server(self):
        return self.headers["X-Served-By"]

    @property
    def text(self):
        return self.body.decode(errors="replace")


@dataclass
class Visitor:
    """A browser that keeps cookies, follows no redirects, and opens a connection for each request."""

    address: str
    port: int = 80
    host: str = ""
    cookies: dict[str, str] = field(default_factory=dict)

    def at(self, address, port=80):
        """Return a browser with the same cookies and Host header that connects to another server."""
        return Visitor(address, port, self.host or f"{self.address}:{self.port}", self.cookies)

    def ask(self, path, method="GET", body=None, headers=None, timeout=60):
        connection = http.client.HTTPConnection(self.address, self.port, timeout=timeout)
        try:
            sent = {"Host": self.host or f"{self.address}:{self.port}", **(headers or {})}
            if self.cookies:
                sent["Cookie"] = "; ".join(f"{key}={value}" for key, value in self.cookies.items())
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        finally:
            connection.close()
        for line in answer.headers.get_all("Set-Cookie") or ():
            for key, morsel in http.cookies.SimpleCookie(line).items():
                self.cookies[key] = morsel.value
        return answer

    def post(self, path, fields, headers=None):
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.ask(path, "POST", urllib.parse.urlencode(fields), {**form, **(headers or {})})

    def upload(self, path, fields, name, file, content):
        """Post a form with one file as multipart/form-data, as a browser does."""
        mark = secrets.token_hex(16)
        parts = [
            f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
            for key, value in fields.items()
        ]
        head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n'
        parts += [head.encode() + b"Content-Type: image/png\r\n\r\n", content, b"\r\n", f"--{mark}--\r\n".encode()]  # fmt: skip
        return self.ask(path, "POST", b"".join(parts), {"Content-Type": f"multipart/form-data; boundary={mark}"})  # fmt: skip


@dataclass(frozen=True)
class Seen:
    at: float
    path: str
    status: int
    """HTTP status; 0: no answer."""
    server: str | None
    body: bytes


class Crowd:
    """Threads that repeat the same requests until the context ends. `seen` holds the answers with their times."""

    def __init__(self, visitors, paths, pause=0.01, headers=None):
        self.seen = []
        self.begun = time.monotonic()
        self._paths, self._pause, self._headers = paths, pause, headers
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._visit, args=[one], daemon=True) for one in visitors]  # fmt: skip

    def __enter__(self):
        self.begun = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _visit(self, visitor):
        while not self._over.is_set():
            for path in self._paths:
                at = time.monotonic() - self.begun
                try:
                    answer = visitor.ask(path, headers=self._headers)
                    seen = Seen(at, path, answer.status, answer.server or visitor.address, answer.body)  # fmt: skip
                except (OSError, http.client.HTTPException):
                    seen = Seen(at, path, 0, visitor.address, b"")
                self.seen.append(seen)
                self._over.wait(self._pause)

    def statuses(self, since=0.0, until=float("inf")):
        """Return the number of answers by status."""
        return dict(collections.Counter(one.status for one in self.seen if since <= one.at < until))

    def by_second(self):
        """Return the statuses of each second as text, one line per second."""
        last = int(max((one.at for one in self.seen), default=0))
        return "\n".join(f"{n:3d} s  {self.statuses(n, n + 1)}" for n in range(last + 1))


def picture(width=320, height=240):
    """Return a PNG image of noise, large enough that a CMS makes thumbnails of it."""
    rows = b"".join(b"\0" + secrets.token_bytes(3 * width) for _ in range(height))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # fmt: skip

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")  # fmt: skip
