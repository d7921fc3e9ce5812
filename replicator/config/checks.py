"""Validation of settings: refuse harmful or contradictory values, naming the TOML path and the reason."""

from __future__ import annotations

import importlib.util
import ipaddress
import math
import os
import re
import sys

from replicator.config.settings import (
    AUTHENTICATED_CIPHERS,
    OTHER_CIPHERS,
    BaseSettings,
    Config,
    DiscoverySettings,
    HookSettings,
    HttpSettings,
    TreeSettings,
)
from replicator.config.texts import parse_address, parse_listen, parse_size
from replicator.errors import ConfigError, PathRefused
from replicator.model import MAX_TREES, TEMPORARY_PREFIX, check_path

_SLOWEST = 1000.0
"""Bytes per second: with less, the code of one agent (50 KB) would take longer than a minute."""

_OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?")


def check(config: Config) -> None:
    """Refuse harmful or contradictory settings.

    Raises:
        ConfigError: if a setting is refused; names its TOML path and the reason.
    """
    _check_state(config.state.directory)
    _check_trees(config.tree, config.state.directory)
    for index, tree in enumerate(config.tree):
        if tree.max_file_size:
            parse_size(f"tree[{index}].max_file_size", tree.max_file_size)
    _check_discovery(config.discovery)
    _check_numbers(config)
    _check_addresses(config)
    _check_ciphers(config.ssh.ciphers)
    _check_http(config.http)
    _check_base(config.base)
    _check_hooks(config.hook)
    if config.ssh.host_keys == "console" and config.discovery.provider not in _AWS:
        raise ConfigError(
            "ssh.host_keys", "'console' needs a provider that knows instances: alb or autoscaling"
        )


def _check_hooks(hooks: tuple[HookSettings, ...]) -> None:
    for index, hook in enumerate(hooks):
        where = f"hook[{index}]"
        if not hook.command or not hook.command[0].startswith("/"):
            raise ConfigError(f"{where}.command", "must begin with the absolute path of a program")
        if any("\0" in word for word in hook.command):
            raise ConfigError(f"{where}.command", "must not contain a NUL byte")
        if not 0 <= hook.batch < math.inf:
            raise ConfigError(f"{where}.batch", f"must not be negative, got {hook.batch}")
        if not 0 < hook.timeout < math.inf:
            raise ConfigError(f"{where}.timeout", f"must be greater than 0, got {hook.timeout}")


def _check_ciphers(ciphers: tuple[str, ...]) -> None:
    known = (*AUTHENTICATED_CIPHERS, *OTHER_CIPHERS)
    if not ciphers:
        raise ConfigError("ssh.ciphers", "must name at least one cipher")
    for index, cipher in enumerate(ciphers):
        if cipher not in known:
            raise ConfigError(
                f"ssh.ciphers[{index}]", f"expected one of {', '.join(known)}, got {cipher!r}"
            )


def _check_http(settings: HttpSettings) -> None:
    if not settings.listen:
        return
    where = parse_listen("http.listen", settings.listen)
    is_private = isinstance(where, str) or ipaddress.ip_address(where[0]).is_loopback
    if not is_private and not settings.remote:
        raise ConfigError(
            "http.listen",
            f"other machines can reach {where[0]}, and there is no password: listen on 127.0.0.1 or a Unix socket,"
            " or set http.remote = true",
        )
    _check_installed("http.listen", "http", "aiohttp", "prometheus-client")


def _check_base(settings: BaseSettings) -> None:
    if not settings.url:
        for name in ("endpoint", "region"):
            if getattr(settings, name):
                raise ConfigError(f"base.{name}", "has no meaning without base.url")
    else:
        _ = settings.place
    _ = settings.bytes_per_second
    if settings.endpoint and not settings.endpoint.startswith(("http://", "https://")):
        raise ConfigError(
            "base.endpoint", f"must begin with https:// or http://, got {settings.endpoint!r}"
        )
    _check_no_password("base.endpoint", settings.endpoint)
    if settings.url:
        _check_installed("base.url", "aws", "boto3")


def _check_no_password(where: str, url: str) -> None:
    if "@" in url:  # botocore quotes the URL in its error messages
        raise ConfigError(where, "must hold no user name and no password: errors quote it")


def _check_installed(where: str, extra: str, *packages: str, what: str = "") -> None:
    missing = [one for one in packages if not importlib.util.find_spec(one.replace("-", "_"))]
    if missing:
        raise ConfigError(
            where,
            f"{what}needs {' and '.join(missing)}, which is not installed: install replicator with its extra `{extra}`,"
            f" or run `{sys.executable} -m pip install {' '.join(packages)}`",
        )


def _check_trees(trees: tuple[TreeSettings, ...], state: str) -> None:
    if not trees:
        raise ConfigError("tree", "at least one [[tree]] is needed")
    # A reload may replace every tree; the new ones get numbers before the old ones are removed.
    if len(trees) > MAX_TREES // 2:
        raise ConfigError("tree", f"at most {MAX_TREES // 2} trees are possible")
    for index, tree in enumerate(trees):
        where = f"tree[{index}]"
        if tree.source == "/":
            raise ConfigError(f"{where}.source", "refusing to replicate the whole file system")
        if _contains(tree.source, state):
            raise ConfigError(
                "state.directory", f"lies inside {where}.source, and would be sent to the frontends"
            )
        _check_target(f"{where}.target", tree.target or "")
        _check_own_files(where, tree)
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
        raise ConfigError(where, "must not contain a NUL byte")
    if not target.startswith("/"):
        raise ConfigError(where, f"must be an absolute path on the frontends, got {target!r}")
    if ".." in target.split("/"):
        raise ConfigError(where, f"must not go through '..', got {target!r}")
    if os.path.normpath(target).strip("/") == "":
        raise ConfigError(where, "refusing to write to the root of the frontends' file system")


def _check_own_files(where: str, tree: TreeSettings) -> None:
    _check_ready(f"{where}.ready_file", tree.ready_file)
    _check_ready(f"{where}.stamp_file", tree.stamp_file)
    if tree.stamp_file and tree.stamp_file == tree.ready_file:
        raise ConfigError(f"{where}.stamp_file", "must be another file than tree.ready_file")


def _check_ready(where: str, path: str) -> None:
    if not path:
        return
    try:
        name = check_path(path.encode("utf-8", "surrogateescape"))
    except PathRefused as error:
        raise ConfigError(where, f"must be a plain path below the target: {error}") from error
    if name.rpartition(b"/")[2].startswith(TEMPORARY_PREFIX):
        raise ConfigError(where, f"must not look like one of our temporary files, got {path!r}")


def _contains(outer: str, inner: str) -> bool:
    return os.path.commonpath(
        [os.path.normpath(outer), os.path.normpath(inner)]
    ) == os.path.normpath(outer)


def _check_state(directory: str) -> None:
    if not directory:
        raise ConfigError("state.directory", "must not be empty")
    # The path of a Unix socket has at most 108 bytes, the final NUL included (unix(7)).
    if len(os.fsencode(directory)) > 107 - len("/control.sock"):
        raise ConfigError(
            "state.directory",
            "is too long for the path of the control socket in it: at most 94 bytes",
        )


_AWS = ("alb", "autoscaling")
_KEYS_OF = {
    "target_groups": ("alb",),
    "load_balancer": ("alb",),
    "auto_scaling_groups": _AWS,
    "lifecycle_hook": _AWS,
    "region": _AWS,
    "endpoint_url": _AWS,
    "name": ("dns",),
    "path": ("file",),
}
_NEEDED = {
    "alb": ("target_groups", "load_balancer"),
    "autoscaling": ("auto_scaling_groups",),
    "dns": ("name",),
    "file": ("path",),
}


def _check_discovery(settings: DiscoverySettings) -> None:
    for name, providers in _KEYS_OF.items():
        if getattr(settings, name) and settings.provider not in providers:
            raise ConfigError(
                f"discovery.{name}", f"has no meaning for provider = {settings.provider!r}"
            )
    _check_no_password("discovery.endpoint_url", settings.endpoint_url)
    needed = _NEEDED.get(settings.provider, ())
    if needed and not any(getattr(settings, name) for name in needed):
        raise ConfigError(
            f"discovery.{needed[0]}",
            f"provider = {settings.provider!r} needs {' or '.join(needed)}",
        )
    if settings.provider in _AWS:
        _check_installed("discovery.provider", "aws", "boto3", what=f"{settings.provider!r} ")


def _check_numbers(config: Config) -> None:
    positive = {
        "ssh.connect_timeout": config.ssh.connect_timeout,
        "ssh.keepalive": config.ssh.keepalive,
        "ssh.op_timeout": config.ssh.op_timeout,
        "ssh.console_timeout": config.ssh.console_timeout,
        "discovery.give_up": config.discovery.give_up,
        "bootstrap.concurrency": config.bootstrap.concurrency,
        "settle.cooldown": config.settle.cooldown,
        "settle.max_wait": config.settle.max_wait,
        "settle.rescan": config.settle.rescan,
        "retry.first": config.retry.first,
        "retry.cap": config.retry.cap,
        "base.interval": config.base.interval,
    }
    for index, tree in enumerate(config.tree):
        positive[f"tree[{index}].ready_max_lag"] = tree.ready_max_lag
        if not 0 < tree.delete_guard <= 1:
            raise ConfigError(
                f"tree[{index}].delete_guard",
                f"must be a share, greater than 0 and at most 1, got {tree.delete_guard}",
            )
    for where, value in {**positive, "discovery.interval": config.discovery.interval}.items():
        if not math.isfinite(value):
            raise ConfigError(where, f"must be a finite number, got {value}")
    if config.discovery.interval < 0:
        raise ConfigError(
            "discovery.interval", f"must not be negative, got {config.discovery.interval}"
        )
    for where, value in positive.items():
        if value <= 0:
            raise ConfigError(where, f"must be greater than 0, got {value}")
    if not 0 < config.ssh.port < 65536:
        raise ConfigError("ssh.port", f"must be 1 to 65535, got {config.ssh.port}")
    # Each raises ConfigError for a text that it cannot read.
    _ = config.bootstrap.bytes_per_second, config.verify.when, config.verify.bytes_per_second
    if (rate := config.ssh.bytes_per_second) is not None and rate < _SLOWEST:
        raise ConfigError("ssh.bandwidth", f"must be at least 1kB/s, got {config.ssh.bandwidth!r}")


def _check_addresses(config: Config) -> None:
    names = config.discovery.name
    for where, texts in (
        ("discovery.frontends", config.discovery.frontends),
        ("discovery.name", (names,) if isinstance(names, str) else names),
    ):
        for index, text in enumerate(texts):
            parse_address(f"{where}[{index}]", text)
