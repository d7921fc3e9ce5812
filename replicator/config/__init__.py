"""The configuration: read from TOML, checked completely before anything starts, and immutable afterwards."""

from replicator.config.reading import load, parse
from replicator.config.schedule import Schedule
from replicator.config.settings import (
    AUTHENTICATED_CIPHERS,
    OTHER_CIPHERS,
    BaseSettings,
    BootstrapSettings,
    Config,
    DiscoverySettings,
    HookSettings,
    HttpSettings,
    SettleSettings,
    SSHSettings,
    TreeSettings,
    VerifySettings,
)
from replicator.config.texts import parse_address, parse_duration, parse_listen, parse_rate

__all__ = [
    "AUTHENTICATED_CIPHERS",
    "OTHER_CIPHERS",
    "BaseSettings",
    "BootstrapSettings",
    "Config",
    "DiscoverySettings",
    "HookSettings",
    "HttpSettings",
    "SSHSettings",
    "Schedule",
    "SettleSettings",
    "TreeSettings",
    "VerifySettings",
    "load",
    "parse",
    "parse_address",
    "parse_duration",
    "parse_listen",
    "parse_rate",
]
