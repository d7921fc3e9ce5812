"""An HTTP server on loopback with a few objects, which serves them correctly or misbehaves as a test says."""

import hashlib
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress

import pytest


class HttpStore:
    """A server that knows objects by path; keep-alive and ranges work as in S3.

    Args:
        certificate: paths of a certificate for `localhost` and its key, for HTTPS; None: HTTP.

    Attributes:
        objects: contents by path.
        faults: by path, functions to call for the next requests instead of serving the object: each is called with the connection's
            socket and the answer that would be correct, and returns True to keep the connection.
        always: by path, a function for all its requests.
        requests: (path, range header or "") of every request.
        connections: number of connections accepted.
    """

    def __init__(self, certificate=None):
        self._tls = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)
        self.objects = {}
        self.faults = {}
        self.always = {}
        self.requests = []
        self.connections = 0
        self._lock = threading.Lock()
        self._open = set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for each in list(self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def url(self, path):
        place = "https://localhost" if self._tls else "http://127.0.0.1"
        return f"{place}:{self.port}/{path}?X-Signature=secret"

    def add(self, content):
        """Add an object under its digest; return the digest."""
        digest = hashlib.sha256(content).digest()
        self.objects[digest.hex()] = content
        return digest

    def _accept(self):
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _secured(self, connection):
        return self._tls.wrap_socket(connection, server_side=True) if self._tls else connection

    def _serve(self, connection):
        with suppress(OSError), self._secured(connection) as secured:
            while head := _head(secured):
                path, wanted = _parsed(head)
                with self._lock:
                    self.requests.append((path, wanted))
                    queue = self.faults.get(path)
                    fault = queue.pop(0) if queue else self.always.get(path)
                answer = self._answer(path, wanted)
                if fault is None:
                    secured.sendall(answer)
                elif not fault(secured, answer):
                    return
        self._open.discard(connection)

    def _answer(self, path, wanted):
        content = self.objects.get(path)
        if content is None:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        status = "200 OK"
        if wanted:
            first, last = wanted.removeprefix("bytes=").split("-")
            content = content[int(first) : int(last) + 1]
            status = "206 Partial Content"
        return f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def _head(connection):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = connection.recv(1)
        if not data:
            return b""
        head += data
    return head


def _parsed(head):
    lines = head.decode("latin-1").split("\r\n")
    path = lines[0].split(" ")[1].lstrip("/").partition("?")[0]
    ranges = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("range:")]
    return path, "".join(ranges)


@contextmanager
def dropping():
    """Provide (port, attempts): a port of loopback whose packets are dropped, and the number of attempts to connect so far.

    The queue of the listening socket is full: the kernel drops further SYN packets.
    """
    with socket.socket() as server, socket.socket() as first, socket.socket() as second:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port = server.getsockname()[1]
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        connect, tried = socket.socket.connect, []

        def counted(sock, address):
            if address[1] == port:
                tried.append(address)
            return connect(sock, address)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "connect", counted)
            yield port, lambda: len(tried)


def status(code, *headers, body=b""):
    """Return a fault that answers with a status."""
    lines = [f"HTTP/1.1 {code} Something", f"Content-Length: {len(body)}", *headers, "", ""]

    def act(connection, _):
        connection.sendall("\r\n".join(lines).encode() + body)
        return True

    return act


def raw(answer):
    """Return a fault that sends these bytes and closes."""

    def act(connection, _):
        connection.sendall(answer)

    return act


def cut(after):
    """Return a fault that closes the connection after so many bytes of the correct answer."""

    def act(connection, answer):
        connection.sendall(answer[: answer.index(b"\r\n\r\n") + 4 + after])

    return act


def silent(seconds=60):
    """Return a fault that answers nothing until the client leaves."""

    def act(connection, _):
        connection.settimeout(seconds)
        with suppress(OSError):
            connection.recv(1)

    return act


def dripping(pause):
    """Return a fault that sends the correct answer byte for byte, with a pause after each."""

    def act(connection, answer):
        with suppress(OSError):
            for i in range(len(answer)):
                connection.sendall(answer[i : i + 1])
                time.sleep(pause)

    return act


def endless(head, piece):
    """Return a fault that sends a head, and then the same piece again and again until the client leaves."""

    def act(connection, _):
        with suppress(OSError):
            connection.sendall(head)
            while True:
                connection.sendall(piece)

    return act


def wrong_bytes(connection, answer):
    """Send the correct head, and a body of other bytes."""
    start = answer.index(b"\r\n\r\n") + 4
    connection.sendall(answer[:start] + bytes(len(answer) - start))
    return True
