"""The settings: frozen, grouped by subject. Times are in seconds."""

from __future__ import annotations

from typing import Literal

import msgspec

from replicator.config.texts import parse_rate, parse_size

AUTHENTICATED_CIPHERS = (
    # Measured in asyncssh, MiB/s for each core: aes128-gcm 389, chacha20-poly1305 204 (its own first choice).
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
)
"""Ciphers that authenticate what they encrypt."""

OTHER_CIPHERS = tuple(f"aes{bits}-{mode}" for mode in ("ctr", "cbc") for bits in (128, 192, 256))
"""Ciphers that need a MAC beside them, and are used only where they are named."""

LARGEST = 1 << 50
"""Bytes: what the wire takes as a file's size; a sparse file in a source may be larger."""


class TreeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One replicated directory."""

    source: str
    """Directory on the backend."""
    target: str | None = None
    """Absolute directory on the frontends; default: the source path. Created when its parent exists."""
    preset: str = ""
    """Name of a CMS whose directory the source is, such as `wordpress`: what it must not replicate is excluded, before what
    `exclude` says. `replicator preset list` names them."""
    exclude: tuple[str, ...] = ()
    """gitignore patterns, relative to the source. What they match is neither sent nor deleted."""
    delete: bool = True
    """Also remove on the frontends what is gone on the backend."""
    delete_guard: float = 0.5
    """If more than this share of a tree's files (and more than 100) is removed in one go, deletions wait for
    `replicator resume`; 1: never."""
    max_file_size: str = ""
    """Larger files, such as above `20GiB`, are neither read nor sent; frontends keep what they have of them, and `status`
    names them. Default: no limit."""
    trust: tuple[str, ...] = ()
    """Users of the backend, names or numbers, who may replace directories and symlinks on the way to the source, beside root and
    the daemon's user: such as `["deploy"]` where releases are switched by a symlink. If somebody else could do that, no symlink
    is followed there, and another directory in the source's place is read only after `replicator resume`."""
    owner: str = ""
    """`user:group` that files get on the frontends, names or numbers there; default: whoever the agent runs as."""
    setid: bool = False
    """Carry setuid and setgid bits. Off: an upload must never become a program that runs as somebody else."""
    symlinks: Literal["all", "inside", "none"] = "all"
    """Which symlinks are replicated: all, as they are; only relative ones that cannot lead out of the tree; or none. The others are
    left out, told in the log, and removed from the frontends."""
    durable: Literal["none", "batch"] = "none"
    """`batch`: a frontend answers for a batch of changes when they are on its disk (one syncfs for each batch), so that what
    counts as delivered survives a power cut there. `none`: after one, the next comparison finds what is missing."""
    ready_file: str = ""
    """Path below the target, such as `.replicator/ready`: written on a frontend when it holds everything, removed while it
    does not. For the load balancer's health check: without it no visitor comes."""
    ready_max_lag: float = 60.0
    """A frontend that is owed something for longer than this is not ready."""

    @property
    def most_bytes(self) -> int:
        """The largest file that is replicated, as a number."""
        if not self.max_file_size:
            return LARGEST
        return min(parse_size("tree.max_file_size", self.max_file_size), LARGEST)


class DiscoverySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which frontends there are."""

    provider: Literal["static", "alb", "autoscaling", "dns", "file"] = "static"
    """Who says it; `static` is the list below, and all others are in addition to that list."""
    frontends: tuple[str, ...] = ()
    """`host`, `user@host`, `host:port` or `[ipv6]:port` (`[fe80::1%eth0]:22` with a zone). Empty is valid: the backend waits."""
    interval: float = 0.0
    """Seconds between two looks, give or take a tenth; 0: what suits the provider (AWS 15, dns 5, file 1)."""
    exclude: tuple[str, ...] = ()
    """Instance ids or addresses that are none of ours, such as this backend's own. Empty: the backend asks the instance
    metadata service who it is."""

    target_groups: str | tuple[str, ...] = ()
    """alb: ARNs or names of target groups."""
    load_balancer: str | tuple[str, ...] = ()
    """alb: ARNs or names of load balancers: all target groups that their listeners and rules forward to."""
    auto_scaling_groups: str | tuple[str, ...] = ()
    """alb, autoscaling: names of groups, whose new instances are filled before they are put into service."""
    lifecycle_hook: str = ""
    """The launch hook that holds new instances for us; default: the group's only one."""
    on_failure: Literal["leave", "abandon"] = "leave"
    """What becomes of a new instance that cannot be filled: left to the hook's own time limit, or given up at once."""
    give_up: float = 3600.0
    """Seconds after which a new instance that is still not filled has failed."""
    region: str = ""
    """AWS region; default: where the standard chain says (environment, profile, instance)."""
    endpoint_url: str = ""
    """Another address for all AWS calls, for VPC endpoints and tests."""

    name: str | tuple[str, ...] = ()
    """dns: names of which every address is a frontend; `name:port` where SSH listens elsewhere."""
    path: str = ""
    """file: a text file with an address on each line, or a JSON list of addresses; read again when it changes."""


class SSHSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How frontends are reached."""

    user: str = ""
    """Login name; default: whoever runs the daemon."""
    port: int = 22
    """TCP port."""
    identity: str = ""
    """Private key file; default: ssh's own (~/.ssh/id_*) and a running ssh-agent."""
    known_hosts: str = "~/.ssh/known_hosts"
    """Host keys we trust, `@cert-authority` and `@revoked` lines included; read at every connect, as ssh does."""
    host_keys: Literal["strict", "accept-new", "console"] = "strict"
    """How a machine that known_hosts does not know is recognised. `strict`: not at all. `accept-new`: its first key is
    believed, and remembered by instance id. `console`: its key must be the one that cloud-init printed to the EC2 console."""
    ciphers: tuple[str, ...] = AUTHENTICATED_CIPHERS
    """What is offered to frontends, in order of preference. For a server that takes only AES-CTR, add such as `"aes256-ctr"`:
    slower, and with a MAC of its own (HMAC-SHA-2)."""
    console_timeout: float = 900.0
    """How long a new machine's console is asked for its fingerprints."""
    connect_timeout: float = 15.0
    """From dialling to the agent's hello; long enough for a busy machine that just booted."""
    keepalive: float = 10.0
    """Seconds between keepalives; three unanswered ones end the connection."""
    op_timeout: float = 60.0
    """A connection on which work is owed, and neither data moves nor an answer comes for so long, is made anew."""


class BootstrapSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The gate through which frontends are filled."""

    concurrency: int = 2
    """Frontends filled at a time; live changes go to all of them meanwhile."""
    bandwidth: str = ""
    """All bootstraps together, such as `40MiB/s`; default: no limit."""

    @property
    def bytes_per_second(self) -> float | None:
        """The bandwidth as a number; None: no limit."""
        return parse_rate("bootstrap.bandwidth", self.bandwidth) if self.bandwidth else None


class SettleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a change is ready to be sent."""

    cooldown: float = 0.5
    """A path that was just sent is sent again at the earliest so much later; doubles while it goes on changing, up to
    sixteen times. The first change of a quiet path is sent at once."""
    max_wait: float = 10.0
    """A file that stays open for writing is sent as a consistent snapshot after so long, and again so often."""
    rescan: float = 60.0
    """How often a directory that cannot be watched (see fs.inotify.max_user_watches) is walked instead."""


class RetrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How failures are retried: doubling delays with full jitter."""

    first: float = 0.5
    """The first delay."""
    cap: float = 30.0
    """The longest delay: how stale a frontend may be after it came back."""


class StateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the daemon keeps what it knows."""

    directory: str = "/var/lib/replicator"
    """Catalog, lock and control socket; created with mode 0700."""


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the daemon says on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important line that is written."""
    format: Literal["auto", "text", "json"] = "auto"
    """`auto`: coloured text on a terminal, JSON lines otherwise."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that the operator decides."""

    tree: tuple[TreeSettings, ...]
    discovery: DiscoverySettings = DiscoverySettings()
    ssh: SSHSettings = SSHSettings()
    bootstrap: BootstrapSettings = BootstrapSettings()
    settle: SettleSettings = SettleSettings()
    retry: RetrySettings = RetrySettings()
    state: StateSettings = StateSettings()
    log: LogSettings = LogSettings()
