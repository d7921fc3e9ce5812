"""The composition root: the only package that connects the engine with concrete implementations of `ports`."""

from replicator.app.backend import App
from replicator.app.daemon import alone, serve
from replicator.app.providers import frontends_of, host_key_policy, named_in, providers_of
from replicator.app.state_lock import state_lock
from replicator.app.trees import trusted_users

__all__ = [
    "App",
    "alone",
    "frontends_of",
    "host_key_policy",
    "named_in",
    "providers_of",
    "serve",
    "state_lock",
    "trusted_users",
]
