"""The fields of a request that name a frontend or a tree."""

from __future__ import annotations

import os
from typing import Any

from replicator.cli.wait import area_of
from replicator.config import Config, parse_address
from replicator.errors import ConfigError, ControlError


def name_fields(config: Config, name: str, *, frontend: bool = False) -> dict[str, Any]:
    """Return the fields. The daemon decides what the name refers to.

    Args:
        config: the settings.
        name: host, `user@host:port` or instance id of a frontend; or the path of a tree, or its last component.
        frontend: True if it is a frontend, not a tree.
    """
    fields: dict[str, Any] = {"name": name, "path": _path(config, name), "frontend": frontend}
    try:
        user, host, port = parse_address("NAME", name)
    except ConfigError:
        return fields
    return {**fields, "user": user, "host": host, "port": port}


def _path(config: Config, name: str) -> str:
    """Return the source of the tree that a path is the root of; otherwise the absolute path."""
    try:
        source, below = area_of(config, name)
    except ControlError:
        return os.path.abspath(name)
    return os.path.abspath(name) if below else source
