"""The settings: frozen, grouped by subject, complete and checked when they exist.

Read from one TOML file. A key that we do not know, a value of the wrong type, and a value that could do harm are refused
with the TOML path and a reason before anything starts. Relative paths are relative to the file. Times are in seconds.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from replicator.errors import ConfigError


class TreeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One replicated directory."""

    source: str
    """Directory on the backend."""
    target: str | None = None
    """Absolute directory on the frontends; default: the source path. Created when its parent exists."""
    exclude: tuple[str, ...] = ()
    """gitignore patterns, relative to the source. What they match is neither sent nor deleted."""
    delete: bool = True
    """Also remove on the frontends what is gone on the backend."""
    owner: str = ""
    """`user:group` that files get on the frontends, names or numbers there; default: whoever the agent runs as."""
    setid: bool = False
    """Carry setuid and setgid bits. Off: an upload must never become a program that runs as somebody else."""


class DiscoverySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which frontends there are."""

    provider: Literal["static"] = "static"
    """Who says it: `static` is the list below."""
    frontends: tuple[str, ...] = ()
    """`host`, `user@host`, `host:port` or `[ipv6]:port`. Empty is valid: the backend waits."""


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


_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
_RATE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmg]i?)?b?(?:/s)?\s*", re.IGNORECASE)
_ADDRESS = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?"
    r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*)|(?P<bare6>[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*))"
    r"(?::(?P<port>[0-9]{1,5}))?",
)
_OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?")


def parse_rate(where: str, text: str) -> float:
    """Return bytes per second for a text such as `40MiB/s`.

    Raises:
        ConfigError: if it is no positive rate.
    """
    match = _RATE.fullmatch(text)
    value = float(match[1]) * _UNITS[(match[2] or "").lower()] if match else 0.0
    if value <= 0:
        raise ConfigError(where, f"expected a rate such as '40MiB/s', got {text!r}")
    return value


def load(path: str | os.PathLike[str]) -> Config:
    """Read and check a configuration file.

    Raises:
        ConfigError: if it cannot be read, is no TOML, or says something that we refuse.
    """
    file = Path(path)
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(str(file), str(error)) from error
    return parse(raw, base=file.parent.resolve())


def parse(raw: dict[str, Any], *, base: Path) -> Config:
    """Return the checked settings in `raw`, with relative paths made absolute against `base`.

    Raises:
        ConfigError: names the TOML path and the reason.
    """
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at ")
        raise ConfigError(
            where.strip("`").removeprefix("$").removeprefix(".") or "config", reason
        ) from error
    config = _absolute(config, base)
    _check_trees(config.tree, config.state.directory)
    _check_state(config.state.directory)
    _check_numbers(config)
    return config


def _absolute(config: Config, base: Path) -> Config:
    """Return the settings with every path absolute, and every tree's target filled in."""

    def path(text: str) -> str:
        return os.path.normpath(base / Path(text).expanduser()) if text else text

    def tree(index: int, settings: TreeSettings) -> TreeSettings:
        if not settings.source.strip():
            raise ConfigError(f"tree[{index}].source", "must not be empty")
        source = path(settings.source)
        target = source if settings.target is None else settings.target
        return replace(settings, source=source, target=target)

    replace = msgspec.structs.replace
    return replace(
        config,
        tree=tuple(tree(i, t) for i, t in enumerate(config.tree)),
        ssh=replace(
            config.ssh,
            identity=path(config.ssh.identity),
            known_hosts=path(config.ssh.known_hosts),
        ),
        state=replace(config.state, directory=path(config.state.directory)),
    )


def _check_trees(trees: tuple[TreeSettings, ...], state: str) -> None:
    if not trees:
        raise ConfigError("tree", "at least one [[tree]] is needed")
    for index, tree in enumerate(trees):
        where = f"tree[{index}]"
        if tree.source == "/":
            raise ConfigError(f"{where}.source", "refusing to replicate the whole file system")
        if _contains(tree.source, state):
            raise ConfigError(
                "state.directory", f"lies inside {where}.source, and would be sent to the frontends"
            )
        _check_target(f"{where}.target", tree.target or "")
        if tree.owner and not _OWNER.fullmatch(tree.owner):
            raise ConfigError(f"{where}.owner", f"expected 'user:group', got {tree.owner!r}")
        for other_index, other in enumerate(trees[:index]):
            for side in ("source", "target"):
                one, two = getattr(tree, side), getattr(other, side)
                if _contains(one, two) or _contains(two, one):
                    raise ConfigError(
                        f"{where}.{side}",
                        f"nested with tree[{other_index}].{side}: {one} and {two}",
                    )


def _check_target(where: str, target: str) -> None:
    if not target.strip():
        raise ConfigError(where, "must not be empty")
    if "\0" in target:
        raise ConfigError(where, "must not hold a NUL")
    if not target.startswith("/"):
        raise ConfigError(where, f"must be an absolute path on the frontends, got {target!r}")
    if ".." in target.split("/"):
        raise ConfigError(where, f"must not go through '..', got {target!r}")
    if os.path.normpath(target).strip("/") == "":
        raise ConfigError(where, "refusing to write to the root of the frontends' file system")


def _contains(outer: str, inner: str) -> bool:
    return os.path.commonpath(
        [os.path.normpath(outer), os.path.normpath(inner)]
    ) == os.path.normpath(outer)


def _check_state(directory: str) -> None:
    # A Unix socket's name has 108 bytes with its final NUL (unix(7)).
    if len(os.fsencode(directory)) > 107 - len("/control.sock"):
        raise ConfigError(
            "state.directory", "is too long a name for the control socket in it: at most 94 bytes"
        )


def _check_numbers(config: Config) -> None:
    positive = {
        "ssh.connect_timeout": config.ssh.connect_timeout,
        "ssh.keepalive": config.ssh.keepalive,
        "ssh.op_timeout": config.ssh.op_timeout,
        "bootstrap.concurrency": config.bootstrap.concurrency,
        "settle.cooldown": config.settle.cooldown,
        "settle.max_wait": config.settle.max_wait,
        "settle.rescan": config.settle.rescan,
        "retry.first": config.retry.first,
        "retry.cap": config.retry.cap,
    }
    for where, value in positive.items():
        if not 0 < value < math.inf:
            raise ConfigError(where, f"must be greater than 0, got {value}")
    if not 0 < config.ssh.port < 65536:
        raise ConfigError("ssh.port", f"must be 1 to 65535, got {config.ssh.port}")
    _ = config.bootstrap.bytes_per_second
    for index, text in enumerate(config.discovery.frontends):
        parse_address(f"discovery.frontends[{index}]", text)


def parse_address(where: str, text: str) -> tuple[str, str, int]:
    """Return (user, host, port) of `user@host:port`; user is empty and port 0 where not given.

    An IPv6 address with a port is written in brackets.

    Raises:
        ConfigError: if it is no address, or begins like an option.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise ConfigError(where, f"expected 'host', 'user@host' or 'user@host:port', got {text!r}")
    host = match["v6"] or match["bare6"] or match["host"]
    return match["user"] or "", host, int(match["port"] or 0)
