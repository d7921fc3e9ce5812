"""presets: what is known of a CMS that runs on a backend and many frontends.

One TOML file for each CMS, in `cms/` of this package (`deploy/cms` has a symlink to each): which requests go to the backend, what is
not replicated, what must be writable on frontends, and the settings of sessions and caches. nginx's routes, the parameters of
`deploy/aws/template.yaml` and the `[[tree]]` part of a configuration are made from it.
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
