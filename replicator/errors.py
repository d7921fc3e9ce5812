"""The exceptions of this package.

* ReplicatorError: the base class; has an exit code, and says whether trying again can help.

  * ConfigError: the configuration is wrong; names the TOML path.
  * SourceError: the source tree is missing, replaced or cannot be read.
  * StateLocked: another daemon owns the state directory.
  * TransportError: a frontend cannot be reached, or was lost.

    * ConnectFailed, HostKeyRefused, LoginRefused, AgentMissing, AgentTooOld, AgentFailed, ChannelLost

  * DiscoveryError: a provider cannot tell at the moment which frontends exist.

    * ActionDenied: because an IAM permission is missing; names it.

  * StoreError: the object store cannot be reached, refuses a request, or holds something else than expected.
  * ProtocolError: the peer sent something that the wire format does not allow.
  * DeltaError: a signature or a delta is malformed or inconsistent.
  * NotAllowed: the frontend's own policy does not allow what the backend asks for.
  * PathRefused: a path that is not a plain relative path below a tree's root.
  * ControlError: the daemon's control socket gave no useful answer.

The texts that an operator reads are full sentences: what is wrong, and what to do about it.
"""

from __future__ import annotations


class ReplicatorError(Exception):
    """Base class of the exceptions that this package raises.

    Attributes:
        exit_code: exit status of a command that this error ends.
        permanent: whether trying again cannot help.
    """

    exit_code = 1
    permanent = True


class ConfigError(ReplicatorError):
    """Raised when the configuration is wrong, before anything is started.

    Attributes:
        where: the key in the TOML file, such as `tree[0].target`, or the file.
        reason: what is wrong with it.
    """

    exit_code = 2

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(where, reason)
        self.where = where
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class SourceError(ReplicatorError):
    """Raised when a source tree is missing, replaced or cannot be read."""

    permanent = False


class StateLocked(ReplicatorError):
    """Raised when another daemon owns the state directory."""


class TransportError(ReplicatorError):
    """Raised when a frontend cannot be reached or its channel is lost; retried with back-off."""

    permanent = False


class ConnectFailed(TransportError):
    """Raised when an SSH connection cannot be established (refused, unreachable, unknown name, timeout)."""


class HostKeyRefused(TransportError):
    """Raised when the host key is unknown, changed or revoked; known_hosts is read again at each attempt."""


class LoginRefused(TransportError):
    """Raised when the frontend accepts none of the backend's keys."""


class AgentMissing(TransportError):
    """Raised when the frontend has no python3."""


class AgentTooOld(TransportError):
    """Raised when the frontend's python3 is older than the agent needs."""


class AgentFailed(TransportError):
    """Raised when the agent did not start, or ended by itself; the text includes what the frontend printed."""


class ChannelLost(TransportError):
    """Raised when an established connection has ended or is silent for too long."""


class DiscoveryError(ReplicatorError):
    """Raised when a provider cannot tell which frontends exist; its last answer stays in force."""

    permanent = False


class ActionDenied(DiscoveryError):
    """Raised when AWS refuses a call because a permission is missing.

    Attributes:
        action: the IAM action that is missing, such as `ec2:DescribeInstances`.
    """

    def __init__(self, action: str, detail: str) -> None:
        super().__init__(f"the IAM permission {action} is missing: {detail}")
        self.action = action


class StoreError(ReplicatorError):
    """Raised when the object store cannot be reached, refuses a request, or holds something else than expected."""

    permanent = False


class ProtocolError(ReplicatorError):
    """Raised when the peer violates the wire format; the backend closes the connection and connects again."""

    permanent = False


class DeltaError(ReplicatorError):
    """Raised when a signature or a delta is malformed, out of range or inconsistent."""


class NotAllowed(ReplicatorError):
    """Raised on a frontend when its own policy does not allow what the backend asks for."""


class PathRefused(ReplicatorError):
    """Raised for a path that is not a plain relative path below a root (see `model.check_path`), or that must not be used."""


class ControlError(ReplicatorError):
    """Raised when the daemon's control socket refuses a request or gives no useful answer."""
