"""Foreign exceptions become ours at this door: each cause its own class, and a sentence that says what to do."""

from __future__ import annotations

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
from replicator.transport.bundle import DAMAGED, TOO_OLD

NOT_FOUND = 127
"""What a shell exits with when it knows no such command."""


@contextmanager
def translated(host: str, *, user: str, identity: str) -> Iterator[None]:
    """Turn whatever goes wrong while connecting into a TransportError.

    Args:
        host: where, with the port.
        user: as whom.
        identity: the private key's file; empty for ssh's defaults.
    """
    try:
        yield
    except ReplicatorError:
        raise
    except (
        asyncssh.HostKeyNotVerifiable
    ) as error:  # `refused_key` has said more, where it was asked
        raise HostKeyRefused(f"{host}: the host key was refused: {error.reason}") from error
    except asyncssh.PermissionDenied as error:
        raise LoginRefused(
            f"{host}: user {user} was not let in with {identity or 'any of the default keys'}:"
            f" add the public key to the authorized_keys of {user} there"
        ) from error
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise LoginRefused(
            f"{identity or 'a default key'}: cannot be used as a key (a passphrase is not asked for): {error}"
        ) from error
    except asyncssh.ChannelOpenError as error:
        raise AgentFailed(
            f"{host}: the SSH server opens no session for us: {error.reason}"
        ) from error
    except socket.gaierror as error:
        raise ConnectFailed(f"{host}: unknown host name: {error.strerror}") from error
    except TimeoutError as error:
        raise ConnectFailed(
            f"{host}: no answer in time: is it up, and is its port 22 open to us?"
        ) from error
    except ConnectionRefusedError as error:
        raise ConnectFailed(
            f"{host}: connection refused: does sshd run there, on this port?"
        ) from error
    except (asyncssh.Error, OSError) as error:
        reason = getattr(error, "reason", "") or getattr(error, "strerror", "") or str(error)
        raise ConnectFailed(f"{host}: {reason}") from error


def refused_key(host: str, port: int, known: bytes, file: str, *, key: str) -> HostKeyRefused:
    """Return the error for a host key that known_hosts does not vouch for.

    Args:
        host: the name that was dialled.
        port: the port.
        known: the content of known_hosts.
        file: where it lies.
        key: fingerprint of the key that was shown, or another word about it.
    """
    name = host if port == 22 else f"[{host}]:{port}"
    try:
        trusted, authorities, revoked, *_ = asyncssh.match_known_hosts(known, host, "", port)
    except ValueError as error:
        return HostKeyRefused(f"{name}: {file} cannot be understood: {error}")
    if revoked and key in [k.get_fingerprint() for k in revoked]:
        return HostKeyRefused(f"{name}: its host key {key} is revoked in {file}")
    if trusted:
        return HostKeyRefused(
            f"{name}: its host key has CHANGED to {key}: this is a new machine on an old address, or an attack. If you"
            f" are sure that it is a new machine: ssh-keygen -R '{name}' -f {file}, and add its new key"
        )
    hint = " or have its key signed by the authority there" if authorities else ""
    return HostKeyRefused(
        f"{name}: its host key {key} is not in {file}: compare the fingerprint by another way, then"
        f" ssh-keyscan -p {port} {host} >> {file}{hint}"
    )


def start_failure(host: str, status: int | None, said: str) -> TransportError:
    """Return why the agent did not start.

    Args:
        host: where.
        status: exit status of the remote command; None if there was none.
        said: what it printed.
    """
    told = f": {said}" if said else ""
    if status == TOO_OLD:
        return AgentTooOld(
            f"{host}: its python3 is {said or 'too old'}; the agent needs 3.9 or later"
        )
    if status == NOT_FOUND or "not found" in said:
        return AgentMissing(
            f"{host}: there is no python3{told}: install it (apt-get install python3-minimal)"
        )
    if status == DAMAGED:
        return AgentFailed(
            f"{host}: the agent's code did not arrive whole: does a login script read standard input?"
        )
    if status is None:
        return AgentFailed(f"{host}: the connection ended before the agent started{told}")
    return AgentFailed(f"{host}: the agent did not start (exit status {status}){told}")
