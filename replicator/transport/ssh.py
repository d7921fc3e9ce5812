"""Run the agent over SSH: one connection with one session.

Host keys are always verified (see transport.trust); this cannot be disabled.
"""

from __future__ import annotations

import asyncio
import getpass
import os
from contextlib import suppress
from typing import Any

import asyncssh
import structlog

from replicator.config import SSHSettings
from replicator.errors import ChannelLost, ConnectFailed, LoginRefused
from replicator.ports import Address
from replicator.transport import stream
from replicator.transport.algorithms import MACS, mac_options, mismatch, unauthenticated
from replicator.transport.bundle import COMMAND, agent_code
from replicator.transport.cork import Cork
from replicator.transport.dial import dial
from replicator.transport.failures import refused_key, silent_login, start_failure, translated
from replicator.transport.line import Line
from replicator.transport.trust import Judge, Policy

log = structlog.get_logger()

WINDOW = 4 << 20
"""Bytes that an agent may send before they are read."""

WRITE_HIGH = 2 << 20
"""Bytes queued in this process at which writers wait: two frames, so that a live change is not delayed behind more."""

CLOSE_TIMEOUT = 2.0
"""Seconds to wait for the peer when a connection is closed, before it is aborted."""


class SSHConnector:
    """Connects to agents over SSH.

    Args:
        settings: see config.SSHSettings.
        policy: decides which host keys are trusted; default: those in known_hosts.
        code: code for the loader instead of the agent's, from `bundle.pack`.
    """

    def __init__(
        self, settings: SSHSettings, policy: Policy | None = None, *, code: bytes | None = None
    ) -> None:
        self._settings = settings
        self._policy = policy or Policy(settings.known_hosts)
        self._code = agent_code() if code is None else code
        if weak := unauthenticated(settings.ciphers):
            log.warning(
                "ssh.ciphers allows ciphers that do not authenticate; AES-GCM is faster and safer",
                ciphers=weak,
                macs=MACS,
            )

    async def connect(self, address: Address, identity: str = "") -> SSHChannel:
        """Connect, log in and start the agent; see `ports.Connector`."""
        settings = self._settings
        own = _own_name()
        user = address.user or settings.user or own
        if not user:
            raise LoginRefused(
                f"user {os.getuid()}, who runs this process, has no name: set ssh.user"
            )
        port = address.port or settings.port
        place = str(Address(address.host, port=port)) if port != 22 else address.host
        session: _Session | None = None
        printed = bytearray()
        with translated(place, user=user, identity=settings.identity):
            try:
                async with asyncio.timeout(settings.connect_timeout):
                    judge = await self._policy.judge(address.host, port, identity)
                    connection, line = await self._dial(address.host, port, user, judge, place)
                    try:
                        session = _Session(line)
                        return await self._start(connection, session, printed, place)
                    except BaseException:
                        await hang_up(connection)
                        raise
            except TimeoutError:
                if session is None:
                    raise
                said = session.errors.said() or stream.said(bytes(printed))
                raise silent_login(place, user, settings.connect_timeout, said) from None

    async def _dial(
        self, host: str, port: int, user: str, judge: Judge, place: str
    ) -> tuple[asyncssh.SSHClientConnection, Line]:
        settings = self._settings
        observer = _Observer(judge)
        # With a configured identity, no other key is tried, because servers limit the attempts (MaxAuthTries).
        keys: dict[str, Any] = (
            {"client_keys": [settings.identity], "agent_path": None} if settings.identity else {}
        )
        line = Line(await dial(host, port))
        try:
            connection = await asyncssh.connect(
                host,
                port,
                tunnel=line,
                username=user,
                known_hosts=judge.matching,
                client_factory=lambda: observer,
                config=None,
                encryption_algs=settings.ciphers,
                **mac_options(settings.ciphers),
                compression_algs=None,
                login_timeout=settings.connect_timeout,
                keepalive_interval=settings.keepalive,
                keepalive_count_max=3,
                preferred_auth=("publickey",),
                **keys,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            raise refused_key(
                host, port, judge, settings.known_hosts, key=observer.shown, reason=error.reason
            ) from error
        except (asyncssh.Error, OSError) as error:
            if reason := mismatch(observer.connection):
                raise ConnectFailed(f"{place}: {reason}") from error
            raise
        finally:
            line.close()
        return connection, line

    async def _start(
        self,
        connection: asyncssh.SSHClientConnection,
        session: _Session,
        printed: bytearray,
        place: str,
    ) -> SSHChannel:
        await connection.create_session(
            lambda: session, COMMAND, encoding=None, window=WINDOW, max_pktsize=32 << 10
        )
        channel = SSHChannel(connection, session)
        with suppress(ChannelLost):  # the output and exit status below tell why
            await channel.write(self._code)
        noise, rest = await stream.after_marker(channel.read, place, printed)
        if rest is None:
            status = await session.exit_status()
            # A shell that refuses logins, such as nologin, prints its reason on standard output.
            said = session.line.ended or session.errors.said() or stream.said(noise)
            said = said or (session.lost if status is None else "")
            raise start_failure(place, status, said)
        session.push_back(rest)
        return channel


class _Observer(asyncssh.SSHClient):
    """Decides about host keys that known_hosts does not contain; stores key and connection for error texts."""

    def __init__(self, judge: Judge) -> None:
        self.shown = ""
        self.connection: asyncssh.SSHClientConnection | None = None
        self._judge = judge

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Store the connection: error texts name the algorithms that the server offers."""
        self.connection = conn

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Return True if a key that known_hosts does not contain is trusted."""
        self.shown = key.get_fingerprint()
        return self._judge.believes(key)


class _Session(asyncssh.SSHClientSession[bytes]):
    """Buffers the agent's output within a bound, and tracks whether the channel accepts writes."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None
        self._arrived = bytearray()
        self._news = asyncio.Event()
        self.ended = False
        self._paused = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._status: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.errors = stream.Errors()
        self.lost = ""

    @property
    def channel(self) -> asyncssh.SSHClientChannel[bytes]:
        """The SSH channel; available after connection_made."""
        assert self._channel is not None  # connection_made came first
        return self._channel

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan
        chan.set_write_buffer_limits(high=WRITE_HIGH)
        self.line.watch(chan)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if datatype == asyncssh.EXTENDED_DATA_STDERR:
            self.errors.add(data)
            return
        self._arrived += data
        self._news.set()
        if len(self._arrived) > WINDOW and not self._paused:
            self._paused = True
            self.channel.pause_reading()

    def eof_received(self) -> bool:
        self._end()
        return True  # the exit status is still to come

    def exit_status_received(self, status: int) -> None:
        if not self._status.done():
            self._status.set_result(status)

    def connection_lost(self, exc: Exception | None) -> None:
        # The text may come from the server: `said` makes it printable.
        told = str(exc).encode("utf-8", "surrogatepass") if exc else b""
        self.lost = stream.said(told) or "closed by the frontend"
        if not self._status.done():
            self._status.set_result(None)
        self._end()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _end(self) -> None:
        self.ended = True
        self._news.set()
        self._writable.set()

    async def read(self) -> bytes:
        """Wait for data; return everything that has arrived, empty at the end of the stream."""
        while not self._arrived and not self.ended:
            self._news.clear()
            await self._news.wait()
        data = bytes(self._arrived)
        self._arrived.clear()
        if self._paused:
            self._paused = False
            self.channel.resume_reading()
        return data

    def push_back(self, data: bytes) -> None:
        """Prepend bytes to the buffer."""
        self._arrived[:0] = data
        self._news.set()

    async def writable(self) -> None:
        """Wait while too many bytes are queued."""
        await self._writable.wait()

    async def exit_status(self) -> int | None:
        """Wait for the exit status of the remote command; None if the connection ended without one."""
        return await self._status


class SSHChannel:
    """A channel over SSH; see `ports.Channel`."""

    def __init__(self, connection: asyncssh.SSHClientConnection, session: _Session) -> None:
        self._connection = connection
        self._line = session.line
        self._session = session
        self._cork = Cork(connection)

    async def read(self) -> bytes:
        """Return the next bytes; empty at the end."""
        return await self._session.read()

    async def write(self, data: bytes) -> None:
        """Write, and wait while too much is queued."""
        session = self._session
        if session.ended or session.channel.is_closing():
            raise ChannelLost(f"the connection is gone: {self.diagnosis() or 'closed'}")
        try:
            session.channel.write(data)
            self._cork.flush()
        except (OSError, asyncssh.Error) as error:
            raise ChannelLost(f"the connection is gone: {error}") from error
        await self._line.sent(len(data))
        await session.writable()
        # After the agent's end and before the channel's, asyncssh queues without bound.
        if session.ended:
            raise ChannelLost(
                f"the connection is gone: {self.diagnosis() or 'the agent has ended'}"
            )

    def diagnosis(self) -> str:
        """Return what the agent printed on its error stream, or why the connection ended."""
        lost = self._session.lost
        return self._line.ended or self._session.errors.said() or lost

    async def close(self) -> None:
        """Close the session and the connection, within CLOSE_TIMEOUT seconds."""
        await hang_up(self._connection)


async def hang_up(connection: asyncssh.SSHClientConnection) -> None:
    """Close a connection; abort it if the peer does not answer within CLOSE_TIMEOUT seconds.

    It uses `asyncio.wait`, because it runs while its task is being cancelled: there, `asyncio.timeout` of Python 3.11.2 raises
    CancelledError instead of TimeoutError.
    """
    connection.close()
    closed = asyncio.ensure_future(connection.wait_closed())
    try:
        await asyncio.wait([closed], timeout=CLOSE_TIMEOUT)
    finally:
        if not closed.done() or closed.exception():
            connection.abort()
        with suppress(OSError, asyncssh.Error):
            await closed


def _own_name() -> str:
    """Return the name of the user that runs this process; "" if its user id has none, as in a container with a numeric user.

    asyncssh needs that name and a home directory even if it logs in as another user with a given key, so they are set here: HOME as
    container engines set it.
    """
    nameless = f"uid-{os.getuid()}"
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        os.environ["LOGNAME"] = name = nameless
        os.environ.setdefault("HOME", "/")
    return "" if name == nameless else name
