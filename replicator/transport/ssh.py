"""Run the agent over SSH: one connection with one session.

Host keys are always verified (see transport.trust); this cannot be disabled.
"""

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import Callable
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
from replicator.transport.channel import WINDOW, SSHChannel, SSHSession, hang_up
from replicator.transport.dial import dial
from replicator.transport.failures import refused_key, silent_login, start_failure, translated
from replicator.transport.line import Line
from replicator.transport.trust import HostKeyCheck, HostKeyPolicy

log = structlog.get_logger()


class SSHConnector:
    """Connects to agents over SSH.

    Args:
        settings: see config.SSHSettings.
        policy: decides which host keys are trusted; default: those in known_hosts.
        code: code for the loader instead of the agent's, from `bundle.pack`.
        sent: called with the bytes of code that are sent to start an agent.
    """

    def __init__(
        self,
        settings: SSHSettings,
        policy: HostKeyPolicy | None = None,
        *,
        code: bytes | None = None,
        sent: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._sent = sent
        self._settings = settings
        self._policy = policy or HostKeyPolicy(settings.known_hosts)
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
        session: SSHSession | None = None
        printed = bytearray()
        with translated(place, user=user, identity=settings.identity):
            try:
                async with asyncio.timeout(settings.connect_timeout):
                    check = await self._policy.host_key_check(address.host, port, identity)
                    connection, line = await self._dial(address.host, port, user, check, place)
                    try:
                        session = SSHSession(line)
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
        self, host: str, port: int, user: str, check: HostKeyCheck, place: str
    ) -> tuple[asyncssh.SSHClientConnection, Line]:
        settings = self._settings
        observer = _Observer(check)
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
                known_hosts=check.matching,
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
                host,
                port,
                check,
                settings.known_hosts,
                key=observer.shown,
                reason=error.reason,
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
        session: SSHSession,
        printed: bytearray,
        place: str,
    ) -> SSHChannel:
        await connection.create_session(
            lambda: session, COMMAND, encoding=None, window=WINDOW, max_pktsize=32 << 10
        )
        channel = SSHChannel(connection, session)
        with suppress(ChannelLost):  # the output and exit status below tell why
            self._sent(len(self._code))
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

    def __init__(self, check: HostKeyCheck) -> None:
        self.shown = ""
        self.connection: asyncssh.SSHClientConnection | None = None
        self._check = check

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Store the connection: error texts name the algorithms that the server offers."""
        self.connection = conn

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        """Return True if a key that known_hosts does not contain is trusted."""
        self.shown = key.get_fingerprint()
        return self._check.accept_new(key)


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
