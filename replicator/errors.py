"""Everything that can go wrong, by name.

* ReplicatorError: the root; knows its exit code and whether trying again can help.

  * ConfigError: the configuration is wrong; names the TOML path.
  * SourceError: the source tree is missing, replaced or cannot be read.
  * StateLocked: another daemon owns the state directory.
  * TransportError: a frontend cannot be reached, or was lost.

    * ConnectFailed, HostKeyRefused, LoginRefused, AgentMissing, AgentTooOld, AgentFailed, ChannelLost

  * DiscoveryError: who the frontends are cannot be found out at this moment.

    * ActionDenied: because an IAM permission is missing; names it.

  * ProtocolError: the peer said something that the wire format does not allow.
  * DeltaError: a signature or a delta does not hold together.
  * NotAllowed: the frontend's own policy does not allow what the backend asks for.
  * PathRefused: a path that is not a plain relative path below a tree's root.
  * ControlError: the daemon's control socket gave no useful answer.

Errors that cross to an operator are full sentences: what is wrong, and what to do about it.
"""

from __future__ import annotations


class ReplicatorError(Exception):
    """The root of all errors that this package raises on purpose.

    Attributes:
        exit_code: what a command that ends with this error exits with.
        permanent: True when doing the same again cannot help.
    """

    exit_code = 1
    permanent = True


class ConfigError(ReplicatorError):
    """Raised when the configuration is wrong; nothing has been started."""

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
    """Raised when no SSH connection could be made (refused, unreachable, unknown name, time-out)."""


class HostKeyRefused(TransportError):
    """Raised when the host key is unknown, changed or revoked; known_hosts is read anew at each try."""


class LoginRefused(TransportError):
    """Raised when the frontend accepts none of our keys."""


class AgentMissing(TransportError):
    """Raised when the frontend has no python3."""


class AgentTooOld(TransportError):
    """Raised when the frontend's python3 is older than the agent needs."""


class AgentFailed(TransportError):
    """Raised when the agent did not start or ended by itself; carries what the frontend printed."""


class ChannelLost(TransportError):
    """Raised when a connection that worked has ended or gone silent."""


class DiscoveryError(ReplicatorError):
    """Raised when a provider cannot say who the frontends are; what it said last stays true."""

    permanent = False


class ActionDenied(DiscoveryError):
    """Raised when the cloud refuses a call for want of a permission.

    Attributes:
        action: the IAM action that is missing, such as `ec2:DescribeInstances`.
    """

    def __init__(self, action: str, detail: str) -> None:
        super().__init__(f"the IAM permission {action} is missing: {detail}")
        self.action = action


class ProtocolError(ReplicatorError):
    """Raised when the peer breaks the wire format; the connection is closed and made anew."""

    permanent = False


class DeltaError(ReplicatorError):
    """Raised when a signature or a delta is malformed, out of range or inconsistent."""


class NotAllowed(ReplicatorError):
    """Raised on a frontend when its own policy does not allow what the backend asks for."""


class PathRefused(ReplicatorError):
    """Raised for a path that is absolute, empty, too long, or has a `.`, `..`, empty or NUL part."""


class ControlError(ReplicatorError):
    """Raised when the daemon's control socket refuses a request or gives no useful answer."""
