"""Translate exceptions of asyncssh and the system to TransportError: one class per cause, with a text that names the remedy."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import asyncssh

from replicator.errors import (
    AgentFailed,
    AgentMissing,
    AgentTooOld,
    ConnectFailed,
    HostKeyRefused,
    LoginRefused,
    ReplicatorError,
    TransportError,
)
from replicator.transport import stream
from replicator.transport.bundle import DAMAGED, TOO_OLD
from replicator.transport.trust import HostKeyCheck

NOT_FOUND = 127
"""Exit status of a shell that did not find the command."""

_NO_PYTHON = re.compile(r"(?<![\w./-])python3: (command )?not found", re.IGNORECASE)
"""Error text of a shell that did not find python3. Needed for csh, which exits with 1."""

_PLAIN_PYTHON = re.compile(r"(?<![\w./-])python3(?![\w./-])")
"""The word python3, not as part of a path or of a longer name."""


@contextmanager
def translated(host: str, *, user: str, identity: str) -> Iterator[None]:
    """Translate exceptions of the block, which connects, to TransportError.

    Args:
        host: host and port, for error texts.
        user: login name, for error texts.
        identity: file of the private key; empty: ssh's default keys.

    Raises:
        TransportError: for errors of asyncssh, OSError and ValueError.
        ReplicatorError: unchanged.
    """
    try:
        yield
    except ReplicatorError:
        raise
    except (asyncssh.Error, OSError, ValueError) as error:
        found = _login_failure(error, host, user, identity) or _connect_failure(error, host)
        raise found from error


def _login_failure(error: Exception, host: str, user: str, identity: str) -> TransportError | None:
    """Return the error for a failure of keys or of the session; None for any other."""
    if isinstance(error, asyncssh.HostKeyNotVerifiable):  # not translated by `refused_key`
        return HostKeyRefused(f"{host}: the host key was refused: {error.reason}")
    if isinstance(error, asyncssh.PermissionDenied):
        return LoginRefused(
            f"{host}: user {user} was not let in with {identity or 'any of the default keys'}:"
            f" add the public key to the authorized_keys of {user} there"
        )
    if isinstance(error, asyncssh.KeyImportError | asyncssh.KeyEncryptionError):
        return LoginRefused(
            f"{host}: {identity or 'a default key'} cannot be used as a key (a passphrase is not asked for): {error}"
        )
    if isinstance(error, OSError) and identity and error.filename == identity:
        return LoginRefused(f"{host}: the private key {identity} cannot be read: {error.strerror}")
    if isinstance(error, asyncssh.ChannelOpenError):
        return AgentFailed(
            f"{host}: the SSH server opens no session for us:"
            f" {stream.said(error.reason.encode('utf-8', 'surrogatepass'))}"
        )
    return None


def _connect_failure(error: Exception, host: str) -> ConnectFailed:
    if isinstance(error, socket.gaierror):
        return ConnectFailed(f"{host}: unknown host name: {error.strerror}")
    if isinstance(error, UnicodeError):  # raised by the resolver for a label of more than 63 bytes
        return ConnectFailed(f"{host}: this is no host name: {error}")
    if isinstance(error, TimeoutError):
        return ConnectFailed(
            f"{host}: no answer in time: is it up, and is its SSH port open to us?"
        )
    if isinstance(error, ConnectionRefusedError):
        return ConnectFailed(f"{host}: connection refused: does sshd run there, on this port?")
    reason = getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error)
    return ConnectFailed(f"{host}: {stream.said(str(reason).encode('utf-8', 'surrogatepass'))}")


def refused_key(
    host: str, port: int, check: HostKeyCheck, file: str, *, key: str, reason: str
) -> HostKeyRefused:
    """Return the error for a refused host key.

    Args:
        host: name or address that was dialled.
        port: TCP port.
        check: the object that refused the key.
        file: path of known_hosts.
        key: fingerprint of the server's key; empty if it was refused for another reason than being unknown.
        reason: error text of asyncssh.
    """
    name = host if port == 22 else f"[{host}]:{port}"
    trusted, authorities, revoked = check.matching(host, "", port)
    if "revoked" in reason:
        keys = " or ".join(k.get_fingerprint() for k in revoked)
        return HostKeyRefused(f"{name}: its host key {keys} is revoked in {file}")
    if not key:
        return HostKeyRefused(
            f"{name}: its host key or certificate is not accepted: {reason}: have the authority sign its key for this"
            " name, and check the clocks of both machines"
        )
    if refused := check.refusal(name, key):
        return refused
    if trusted:
        return HostKeyRefused(
            f"{name}: its host key has CHANGED to {key}: this is a new machine on an old address, or an attack. If you"
            f" are sure that it is a new machine: ssh-keygen -R '{name}' -f {file}, and add its new key"
        )
    hint = " or have its key signed by the authority there" if authorities else ""
    left_out = f" ({check.damaged} of it cannot be understood)" if check.damaged else ""
    return HostKeyRefused(
        f"{name}: its host key {key} is not in {file}{left_out}: compare the fingerprint on the machine's console, then"
        f" ssh-keyscan -p {port} {host} >> {file}{hint}"
    )


def start_failure(host: str, status: int | None, said: str) -> TransportError:
    """Return the error for an agent that did not start.

    Args:
        host: host, for the error text.
        status: exit status of the remote command; None if the connection ended without one.
        said: output of the remote command.
    """
    printed = f": {said}" if said else ""
    if status == TOO_OLD:
        return AgentTooOld(
            f"{host}: its python3 is {said or 'too old'}; the agent needs 3.9 or later"
        )
    without = status == NOT_FOUND and (not said or _PLAIN_PYTHON.search(said))
    if without or _NO_PYTHON.search(said):
        return AgentMissing(
            f"{host}: there is no python3{printed}: install it (apt-get install python3-minimal)"
        )
    if status == NOT_FOUND:
        return AgentFailed(
            f"{host}: authorized_keys or ForceCommand names a command that does not exist{printed}: correct the path in its"
            ' authorized_keys (command="...") or in sshd\'s ForceCommand'
        )
    if status == DAMAGED:
        return AgentFailed(
            f"{host}: the agent's code did not arrive whole: does a login script read standard input?"
        )
    if status is None:
        return AgentFailed(f"{host}: the connection ended before the agent started{printed}")
    if not said:
        printed = ", and nothing was printed: does the account's login shell run commands, as /bin/sh does, and /bin/false does not?"
    elif "account is currently not available" in said:
        printed += ": give the account a login shell that runs commands (usermod --shell /bin/sh)"
    return AgentFailed(f"{host}: the agent did not start (exit status {status}){printed}")


def silent_login(host: str, user: str, seconds: float, said: str) -> AgentFailed:
    """Return the error for an agent that did not start in time after a successful login.

    Args:
        host: host, for the error text.
        user: login name.
        seconds: the time limit.
        said: output of the login.
    """
    printed = f"; it printed: {said}" if said else ""
    return AgentFailed(
        f"{host}: {user} was let in, but the agent did not start within {seconds:g} s{printed}: does a start file of the"
        " login shell wait for something, or read standard input?"
    )
