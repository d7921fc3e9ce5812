"""The settings, immutable and grouped by subject. Times are in seconds."""

from __future__ import annotations

from typing import Literal

import msgspec

from replicator.config.schedule import Schedule, parse_schedule
from replicator.config.texts import parse_bucket, parse_rate, parse_size

AUTHENTICATED_CIPHERS = (
    # Throughput measured with asyncssh, in MiB/s per core: aes128-gcm 389, chacha20-poly1305 (asyncssh's default) 204.
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
)
"""Authenticated ciphers, fastest first; the default."""

OTHER_CIPHERS = tuple(f"aes{bits}-{mode}" for mode in ("ctr", "cbc") for bits in (128, 192, 256))
"""Ciphers that need a separate MAC; used only where `ssh.ciphers` names them."""

LARGEST = 1 << 50
"""Largest file size in bytes that the wire protocol accepts; a sparse file in a source may be larger."""


class TreeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One replicated directory."""

    source: str
    """Directory on the backend."""
    target: str | None = None
    """Absolute directory on the frontends; default: the source path. Created when its parent exists."""
    preset: str = ""
    """Name of the CMS whose directory the source is, such as `wordpress`. The preset's exclude patterns come before those of
    `exclude`. `replicator preset list` prints the names."""
    exclude: tuple[str, ...] = ()
    """gitignore patterns, relative to the source. Matching paths are neither sent nor deleted."""
    delete: bool = True
    """Delete on the frontends what was deleted on the backend."""
    delete_guard: float = 0.5
    """Share of a tree's files, 0 to 1. If more than this share, and more than 100 files, disappear at once, deletions are held
    until `replicator resume`. 1: deletions are never held."""
    max_file_size: str = ""
    """Size such as `20GiB`. Larger files are neither read nor sent; frontends keep their version, and `status` lists the files.
    Default: no limit."""
    compress: bool = False
    """Compress contents on the line to the frontends, except what is compressed already, such as images."""
    trust: tuple[str, ...] = ()
    """Users of the backend, by name or number, who may replace directories and symlinks on the path to the source, in addition
    to root and the daemon's user; such as `["deploy"]` if releases are switched by a symlink. If any other user could do so,
    replicator follows no symlink there, and reads a directory that replaces the source only after `replicator resume`."""
    owner: str = ""
    """Owner of files on the frontends: `user:group`, by names or numbers of the frontend. Default: the user of the agent."""
    setid: bool = False
    """Replicate setuid and setgid bits. Off by default: an upload must not become a program that runs as another user."""
    symlinks: Literal["all", "inside", "none"] = "all"
    """Which symlinks are replicated: `all`, unchanged; `inside`, relative ones that cannot lead out of the tree; or `none`. The
    others are logged, not sent, and removed from the frontends."""
    durable: Literal["none", "batch"] = "none"
    """When a frontend acknowledges changes. `batch`: after they are on its disk (one syncfs(2) per batch), so that acknowledged
    changes survive a power cut. `none`: after they are applied; after a power cut the next comparison finds what is missing."""
    ready_file: str = ""
    """Path below the target, such as `.replicator/ready`. The file exists on a frontend while the frontend holds everything.
    Meant for the load balancer's health check, so that a frontend without it gets no requests."""
    ready_max_lag: float = 60.0
    """A frontend is not ready once a change has been pending for it for longer than this."""

    stamp_file: str = ""
    """Path below the target, such as `.replicator/stamp`. The file is replaced on a frontend after each batch of changes that it took,
    so that a systemd path unit there can start a program."""

    @property
    def most_bytes(self) -> int:
        """Size in bytes of the largest file that is replicated.

        Raises:
            ConfigError: if `max_file_size` is not a size.
        """
        if not self.max_file_size:
            return LARGEST
        return min(parse_size("tree.max_file_size", self.max_file_size), LARGEST)


class DiscoverySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the list of frontends comes from."""

    provider: Literal["static", "alb", "autoscaling", "dns", "file"] = "static"
    """Source of the list. `static` is the list below; every other provider adds to that list."""
    frontends: tuple[str, ...] = ()
    """`host`, `user@host`, `host:port` or `[ipv6]:port` (`[fe80::1%eth0]:22` with a zone). May be empty."""
    interval: float = 0.0
    """Seconds between two polls, plus or minus 10 %. 0: the provider's default (AWS 15, dns 5, file 1)."""
    exclude: tuple[str, ...] = ()
    """Instance ids or addresses that are not frontends, such as the backend's own; `frontends` are not excluded. Empty: with alb and
    autoscaling, the backend asks the instance metadata service for its own instance id, and excludes that."""

    target_groups: str | tuple[str, ...] = ()
    """alb: ARNs or names of target groups."""
    load_balancer: str | tuple[str, ...] = ()
    """alb: ARNs or names of load balancers; stands for all target groups that their listeners and rules forward to."""
    auto_scaling_groups: str | tuple[str, ...] = ()
    """alb, autoscaling: names of groups. With a launch hook, new instances are filled before they are put into service."""
    lifecycle_hook: str = ""
    """Name of the launch hook that holds new instances for replicator. Default: the group's only launch hook."""
    on_failure: Literal["leave", "abandon"] = "leave"
    """What to do with a new instance that cannot be filled: `leave` it to the timeout of the hook, or `abandon` it at once."""
    give_up: float = 3600.0
    """Seconds after which a new instance that is not filled yet counts as failed."""
    region: str = ""
    """AWS region. Default: as boto3 finds it (environment, profile, instance)."""
    endpoint_url: str = ""
    """URL for all AWS calls instead of the default, for VPC endpoints and tests."""

    name: str | tuple[str, ...] = ()
    """dns: names; every address of a name is a frontend. `name:port` where SSH listens on another port."""
    path: str = ""
    """file: a text file with one address per line, or a JSON list of addresses; read at every poll."""


class SSHSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the backend connects to frontends."""

    user: str = ""
    """Login name. Default: the user that runs the daemon."""
    port: int = 22
    """TCP port."""
    identity: str = ""
    """Private key file. Default: those of ssh (~/.ssh/id_*) and of a running ssh-agent."""
    known_hosts: str = "~/.ssh/known_hosts"
    """Trusted host keys, with `@cert-authority` and `@revoked` lines; read at every connect, as ssh does."""
    host_keys: Literal["strict", "accept-new", "console"] = "strict"
    """What to do with a host that is not in known_hosts. `strict`: refuse it. `accept-new`: trust its first key, and remember it
    by instance id. `console`: its key must match a fingerprint that cloud-init printed to the EC2 console."""
    ciphers: tuple[str, ...] = AUTHENTICATED_CIPHERS
    """Ciphers offered to frontends, in order of preference. For a server that accepts only AES-CTR, add for example
    `"aes256-ctr"`: it is slower, and needs a separate MAC (HMAC-SHA-2)."""
    console_timeout: float = 900.0
    """How long to poll the console of a new machine for its fingerprints."""
    connect_timeout: float = 15.0
    """Limit from connecting to the agent's `hello` message. The default suits a busy machine that has just booted."""
    keepalive: float = 10.0
    """Seconds between SSH keepalives. Three unanswered ones end the connection."""
    op_timeout: float = 60.0
    """Reconnect after this long without data or an answer while changes are pending on the connection."""
    bandwidth: str = ""
    """Bandwidth for everything that is sent to all frontends together, such as `10MiB/s`. Default: no limit."""

    compress: bool = False
    """Compress the contents of all trees, as `tree.compress` does."""

    @property
    def bytes_per_second(self) -> float | None:
        """Bandwidth in bytes per second; None: no limit.

        Raises:
            ConfigError: if `bandwidth` is not a rate.
        """
        return parse_rate("ssh.bandwidth", self.bandwidth) if self.bandwidth else None


class BootstrapSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How frontends are filled (bootstrapped)."""

    concurrency: int = 2
    """Number of frontends filled at the same time. Live changes go to every frontend meanwhile."""
    bandwidth: str = ""
    """Bandwidth for all bootstraps together, such as `40MiB/s`. Default: no limit."""

    @property
    def bytes_per_second(self) -> float | None:
        """Bandwidth in bytes per second; None: no limit.

        Raises:
            ConfigError: if `bandwidth` is not a rate.
        """
        return parse_rate("bootstrap.bandwidth", self.bandwidth) if self.bandwidth else None


class SettleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a changed file is sent."""

    cooldown: float = 0.5
    """Minimum time between two transmissions of the same path. Doubles while the path keeps changing, up to 16 times this value.
    The first change of a quiet path is sent at once."""
    max_wait: float = 10.0
    """A file that stays open for writing is sent as a consistent snapshot after this time, and again at this interval."""
    rescan: float = 60.0
    """How often to scan a directory that cannot be watched because fs.inotify.max_user_watches is reached."""


class RetrySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How what failed on a frontend is retried (connections, paths, targets): with exponential backoff and full jitter."""

    first: float = 0.5
    """Upper bound of the first delay."""
    cap: float = 30.0
    """Upper bound of all delays; also how long a frontend that is up again may wait for its changes."""


class VerifySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When all frontends are verified, one after the other, as `replicator verify` does."""

    schedule: str = ""
    """`hourly`, `daily 03:30`, `weekly sun 03:30` or `monthly 1 03:30`, in the backend's local time. Default: never."""
    repair: bool = False
    """Send again what differs; otherwise it is only reported."""
    rate: str = "50MiB/s"
    """How fast a frontend reads its files in a scheduled verification; a file counts as 64 KiB at least. Empty: no limit.
    The default leaves more than half of the slowest SSD volume of EC2 (gp3, 125 MiB/s and 3,000 accesses per second) to visitors."""

    @property
    def when(self) -> Schedule | None:
        """The schedule; None: never.

        Raises:
            ConfigError: if `schedule` is none.
        """
        return parse_schedule("verify.schedule", self.schedule) if self.schedule else None

    @property
    def bytes_per_second(self) -> int:
        """`rate` in bytes per second; 0: no limit.

        Raises:
            ConfigError: if `rate` is not a rate.
        """
        return int(parse_rate("verify.rate", self.rate)) or 1 if self.rate else 0


class HookSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A program that is started on the backend after something has happened."""

    event: Literal[
        "delivered",
        "frontend-live",
        "frontend-degraded",
        "frontend-lost",
        "frontend-paused",
        "tree-halted",
        "tree-paused",
        "tree-resumed",
        "deletions-held",
        "verify-differs",
    ]
    """The event that starts the program; it gets the event as a JSON object on standard input."""
    command: tuple[str, ...]
    """The program, with an absolute path, and its arguments. No shell is involved."""
    batch: float = 1.0
    """Seconds that are collected before a run."""
    timeout: float = 30.0
    """Seconds after which a run is ended, with all that it has started in its process group."""


class StateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the daemon keeps its state."""

    directory: str = "/var/lib/replicator"
    """Directory for catalog, lock file, control socket and learned host keys; created with mode 0700."""


class ControlSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who may ask the daemon."""

    group: str = ""
    """Group, by name or number, whose members may run `status` and `wait`, and nothing else. Default: only root and the daemon's user."""


class HttpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The read-only HTTP server: health, metrics, status and a page. Needs the extra `http`."""

    listen: str = ""
    """Where to listen: an address with a port such as `127.0.0.1:9440` or `[::1]:9440`, or the absolute path of a Unix socket.
    Default: nowhere."""
    remote: bool = False
    """Accept an address in `listen` that other machines can reach. There is no password: whoever reaches it sees the names of
    frontends, of some files and of the programs of hooks, without their arguments and output, and the latest log events."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which browsers reach the server, for example through a reverse proxy. `localhost` and IP addresses are always
    accepted; other names are refused, so that no foreign site can read the status through a visitor's browser."""


class BaseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base: a copy of the trees in an object store, from which new frontends restore. Needs the extra `aws`."""

    url: str = ""
    """Where the base is, such as `s3://bucket/replicator`. Default: there is none. No other backend may use the same prefix."""
    endpoint: str = ""
    """URL of a store other than Amazon S3 that speaks its protocol. Backend and frontends must reach it under this URL."""
    region: str = ""
    """AWS region. Default: as boto3 finds it (environment, profile, instance)."""
    bandwidth: str = "20MB/s"
    """Bandwidth of uploads to the store."""
    interval: float = 300.0
    """Seconds between two publications of a tree that has changed. A publication that takes much CPU time is followed by a longer
    pause, so that publishing takes at most 2 % of a core."""

    @property
    def place(self) -> tuple[str, str]:
        """Return the bucket, and the prefix with a slash at its end (or empty).

        Raises:
            ConfigError: if `url` is not one of an object store.
        """
        return parse_bucket("base.url", self.url)

    @property
    def bytes_per_second(self) -> float:
        """Bandwidth in bytes per second.

        Raises:
            ConfigError: if `bandwidth` is not a rate.
        """
        return parse_rate("base.bandwidth", self.bandwidth)


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the daemon logs to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level that is logged."""
    format: Literal["auto", "text", "json"] = "auto"
    """`auto`: coloured text on a terminal, JSON lines otherwise."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole configuration file."""

    tree: tuple[TreeSettings, ...]
    discovery: DiscoverySettings = DiscoverySettings()
    ssh: SSHSettings = SSHSettings()
    bootstrap: BootstrapSettings = BootstrapSettings()
    settle: SettleSettings = SettleSettings()
    retry: RetrySettings = RetrySettings()
    state: StateSettings = StateSettings()
    log: LogSettings = LogSettings()
    control: ControlSettings = ControlSettings()
    http: HttpSettings = HttpSettings()
    hook: tuple[HookSettings, ...] = ()
    verify: VerifySettings = VerifySettings()
    base: BaseSettings = BaseSettings()
