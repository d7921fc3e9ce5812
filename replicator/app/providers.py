"""Build the providers, the host key policy and the launch control that the settings ask for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

from replicator.config import Config, DiscoverySettings, parse_address
from replicator.core.pace import Backoff
from replicator.discovery.aws.balancer import BalancerProvider
from replicator.discovery.aws.client import Aws
from replicator.discovery.aws.console import Ec2Console
from replicator.discovery.aws.metadata import own_instance
from replicator.discovery.aws.scaling import ScalingLaunches, ScalingProvider
from replicator.discovery.dns import DnsProvider
from replicator.discovery.excluding import Excluding
from replicator.discovery.file import FileProvider
from replicator.discovery.static import StaticProvider
from replicator.engine.fleet.fleet import Fleet
from replicator.engine.fleet.launch_hooks import LaunchHooks
from replicator.ports import Address, Candidate, Provider
from replicator.transport.pins import Pins
from replicator.transport.trust import HostKeyPolicy, machine_name

INTERVALS = {"static": 60.0, "alb": 15.0, "autoscaling": 15.0, "dns": 5.0, "file": 1.0}
"""Default seconds between two polls. AWS throttles at bursts of 40 calls and 10 calls per second for an account and region."""


def frontends_of(config: Config) -> list[Address]:
    """Return the frontends that `discovery.frontends` lists."""
    return [
        Address(host, user, port)
        for i, text in enumerate(config.discovery.frontends)
        for user, host, port in [parse_address(f"discovery.frontends[{i}]", text)]
    ]


def named_in(config: Config, address: Address) -> Address:
    """Return the configured frontend that an address on the command line refers to, or the address itself."""
    for known in frontends_of(config):
        if address.means(known):
            return known
    return address


def providers_of(config: Config, aws: Aws) -> list[Provider]:
    """Return the providers that a configuration asks for; the first is always the static list, from which nothing is excluded."""
    settings = config.discovery
    exclude = settings.exclude
    own = functools.cache(own_instance)  # once for all providers
    providers: list[Provider] = [StaticProvider(frontends_of(config))]
    providers += [Excluding(one, exclude, own) for one in _aws_providers(settings, aws)]
    providers += [Excluding(one, exclude) for one in _other_providers(settings)]
    return providers


def _aws_providers(settings: DiscoverySettings, aws: Aws) -> Iterator[Provider]:
    interval = _interval(settings)
    if settings.provider == "alb":
        yield BalancerProvider(
            aws,
            target_groups=_several(settings.target_groups),
            load_balancers=_several(settings.load_balancer),
            interval=interval,
        )
    if groups := _several(settings.auto_scaling_groups):
        yield ScalingProvider(aws, groups=groups, hook=settings.lifecycle_hook, interval=interval)


def _other_providers(settings: DiscoverySettings) -> Iterator[Provider]:
    interval = _interval(settings)
    if settings.provider == "dns":
        names = [_address(f"discovery.name[{i}]", n) for i, n in enumerate(_several(settings.name))]
        yield DnsProvider(names, interval=interval)
    if settings.provider == "file":
        yield FileProvider(settings.path, interval=interval)


def _interval(settings: DiscoverySettings) -> float:
    return settings.interval or INTERVALS[settings.provider]


def launch_hooks_of(
    config: Config, aws: Aws, fleet: Fleet, pool: Executor, retry: Backoff
) -> LaunchHooks | None:
    """Return the object that completes launch hooks; None if no Auto Scaling group is configured."""
    settings = config.discovery
    if not settings.auto_scaling_groups:
        return None
    return LaunchHooks(
        ScalingLaunches(aws),
        fleet,
        pool,
        retry,
        give_up=settings.give_up,
        abandon=settings.on_failure == "abandon",
    )


def host_key_policy(
    config: Config, aws: Aws, members: Callable[[], Iterable[Candidate]] | None = None
) -> HostKeyPolicy:
    """Return the policy that decides which host keys are trusted.

    Args:
        config: the settings.
        aws: reads EC2 consoles.
        members: returns the current frontends, whose remembered keys are kept; None: all remembered keys are kept.
    """
    ssh = config.ssh

    def machines() -> set[str]:
        assert members is not None
        return {
            machine_name(one.address.host, one.address.port or ssh.port, one.identity)
            for one in members()
        }

    return HostKeyPolicy(
        ssh.known_hosts,
        mode=ssh.host_keys,
        pins=Pins(Path(config.state.directory) / "host_keys", machines if members else None),
        console=Ec2Console(aws),
        console_timeout=ssh.console_timeout,
    )


def _several(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) and value else list(value)


def _address(where: str, text: str) -> Address:
    user, host, port = parse_address(where, text)
    return Address(host, user, port)
