"""Find the frontend or the tree that an operator names in a request."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from replicator.engine.frontend.replica import Replica
from replicator.engine.ingest.pipeline import Pipeline
from replicator.engine.paused import Machine, Paused
from replicator.engine.service import Service
from replicator.errors import ControlError
from replicator.model import printable
from replicator.ports import Address

MOST_NAMES = 20
"""Known names that an error lists of each type."""


@dataclass(frozen=True)
class Name:
    """A name in a request.

    Attributes:
        text: as the operator has typed it.
        path: the absolute path that it is on the operator's side; empty if it is none.
        address: the address that it is; None if it is none.
        is_frontend: True if the operator says that it is a frontend, not a tree.
    """

    text: str
    path: bytes
    address: Address | None
    is_frontend: bool

    @staticmethod
    def of(request: dict[str, Any]) -> Name:
        """Read the name of a request.

        Raises:
            ControlError: if the request has none.
        """
        text, path = request.get("name"), request.get("path", "")
        host, user, port = (request.get(key, "") for key in ("host", "user", "port"))
        if not text or not all(isinstance(one, str) for one in (text, path, host, user)):
            raise ControlError("the request names neither a frontend nor a tree")
        address = Address(host, user, port if type(port) is int else 0) if host else None
        try:
            return Name(text, os.fsencode(path), address, bool(request.get("frontend")))
        except UnicodeEncodeError as error:  # a surrogate that stands for no byte
            raise ControlError("the request names neither a frontend nor a tree") from error

    def is_root(self, root: bytes) -> bool:
        """Return True if this names the tree of a source directory, by its path or by the last component of that."""
        if self.is_frontend:
            return False
        if root == self.path:
            return True
        return "/" not in self.text and root.rpartition(b"/")[2] == os.fsencode(self.text)

    def is_machine(self, address: Address, identity: str) -> bool:
        """Return True if this names a frontend, by its address or by its instance id."""
        if identity and self.text == identity:
            return True
        return self.address is not None and self.address.means(address)


def find(name: Name, service: Service, former: Paused | None = None) -> Machine | bytes:
    """Return the frontend, or the source directory of the tree, that a name refers to.

    Args:
        name: the name.
        service: the service.
        former: also find what is paused, and not served any more.

    Raises:
        ControlError: if there is none, or more than one.
    """
    roots, machines = _known(service)
    if former is not None:
        roots |= former.trees.keys()
        fleet = [replica.candidate for replica in service.fleet]
        gone = {one for one in former.frontends if not any(map(one.is_of, fleet))}
        machines |= gone
    trees = [root for root in roots if name.is_root(root)]
    frontends = [one for one in machines if name.is_machine(*one)]
    if len(trees) + len(frontends) == 1:
        return trees[0] if trees else frontends[0]
    if not trees and not frontends:
        raise ControlError(
            f"{name.text}: no frontend or tree has this name. {_listed(roots, machines)}"
        )
    if trees and frontends:
        raise ControlError(
            f"{name.text} is a frontend and a tree: write the tree as {printable(trees[0])}, or add --frontend"
        )
    if trees:
        raise ControlError(f"{name.text} may be several trees: {', '.join(_roots(trees))}")
    raise ControlError(f"{name.text} may be several frontends: {', '.join(_addresses(frontends))}")


def replica_of(machine: Machine, service: Service) -> Replica | None:
    """Return the replica of a frontend; None if it is not in the fleet."""
    return next((one for one in service.fleet if machine.is_of(one.candidate)), None)


def pipeline_of(root: bytes, service: Service) -> Pipeline | None:
    """Return the pipeline of a tree; None if it is not replicated."""
    return next((one for one in service.pipelines.values() if one.tree.root == root), None)


def _known(service: Service) -> tuple[set[bytes], set[Machine]]:
    roots = {pipeline.tree.root for pipeline in service.pipelines.values()}
    candidates = [replica.candidate for replica in service.fleet]
    return roots, {Machine(one.address, one.identity) for one in candidates}


def _roots(roots: Iterable[bytes]) -> list[str]:
    return sorted(map(printable, roots))


def _addresses(machines: Iterable[Machine]) -> list[str]:
    return sorted(str(machine.address) for machine in machines)


def _listed(roots: set[bytes], machines: set[Machine]) -> str:
    lists = (("Frontends", _addresses(machines)), ("trees", _roots(roots)))
    return "; ".join(f"{what}: {_shortened(names)}" for what, names in lists)


def _shortened(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more if names else "none"
