"""Read a TOML file into complete, checked settings.

Unknown keys, values of the wrong type and harmful values are refused before anything starts; the error names the TOML path
and the reason. Relative paths are relative to the directory of the file.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from replicator.config.checks import check
from replicator.config.settings import Config, TreeSettings
from replicator.errors import ConfigError


def load(path: str | os.PathLike[str]) -> Config:
    """Read and check a configuration file.

    Raises:
        ConfigError: if the file cannot be read, is not valid TOML, or holds a setting that is refused.
    """
    file = Path(path)
    try:
        # utf-8-sig: some editors begin the file with a byte order mark.
        raw = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(str(file), str(error)) from error
    return parse(raw, base=file.parent.resolve())


def parse(raw: dict[str, Any], *, base: Path) -> Config:
    """Return the checked settings in `raw`, with relative paths made absolute against `base`.

    Raises:
        ConfigError: if a setting is refused; names its TOML path and the reason.
    """
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at ")
        raise ConfigError(
            where.strip("`").removeprefix("$").removeprefix(".") or "config", reason
        ) from error
    config = _absolute(config, base)
    check(config)
    return config


def _absolute(config: Config, base: Path) -> Config:
    """Return the settings with absolute paths, and with the defaults filled in that depend on other settings."""

    def path(where: str, text: str) -> str:
        if "\0" in text:
            raise ConfigError(where, "must not contain a NUL byte")
        try:
            return os.path.normpath(base / Path(text).expanduser()) if text else text
        except RuntimeError as error:
            raise ConfigError(where, f"there is no such user: {text!r}") from error

    def tree(index: int, settings: TreeSettings) -> TreeSettings:
        if not settings.source.strip():
            raise ConfigError(f"tree[{index}].source", "must not be empty")
        source = path(f"tree[{index}].source", settings.source)
        target = source if settings.target is None else settings.target
        exclude = _preset_excludes(f"tree[{index}].preset", settings.preset) + settings.exclude
        compress = settings.compress or config.ssh.compress
        return replace(settings, source=source, target=target, exclude=exclude, compress=compress)

    replace = msgspec.structs.replace
    return replace(
        config,
        tree=tuple(tree(i, t) for i, t in enumerate(config.tree)),
        ssh=replace(
            config.ssh,
            identity=path("ssh.identity", config.ssh.identity),
            known_hosts=path("ssh.known_hosts", config.ssh.known_hosts),
        ),
        state=replace(config.state, directory=path("state.directory", config.state.directory)),
        discovery=replace(config.discovery, path=path("discovery.path", config.discovery.path)),
    )


def _preset_excludes(where: str, name: str) -> tuple[str, ...]:
    if not name:
        return ()
    from replicator.presets import load as load_preset  # late: 7 ms of a command's 90

    try:
        return load_preset(name).excludes
    except ConfigError as error:
        raise ConfigError(where, error.reason) from error
