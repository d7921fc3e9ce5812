"""Presets: how to run a CMS on a backend and many frontends.

`cms/` holds one TOML file per CMS (`deploy/cms` has a symlink to each): which requests only the backend may answer, which paths are
not replicated, which directories must be writable on frontends, and settings for sessions and caches. `rendering` turns a preset
into nginx maps, parameters of `deploy/aws/template.yaml`, or a `[[tree]]` table.
"""

from replicator.presets.rendering import FORMATS, render
from replicator.presets.settings import Exclude, Preset, Route, Setting, Writable, load, names

__all__ = [
    "FORMATS",
    "Exclude",
    "Preset",
    "Route",
    "Setting",
    "Writable",
    "load",
    "names",
    "render",
]
