"""Read the TOML file of a CMS, and check that each row is complete."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from typing import TypeVar

import msgspec

from replicator.errors import ConfigError

_PARAMETER = re.compile(r"\{(\w+)\}")
_VALUE = re.compile(r"[A-Za-z0-9._/-]*")
_SUFFIX = ".toml"

T = TypeVar("T")


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Fields of every row: the reason for it, and exactly one origin of that knowledge."""

    why: str
    """The reason, for the operator who decides whether to keep the row."""
    tested: str = ""
    """Release of the CMS with which the row was tested."""
    read: str = ""
    """URL of the documentation, for a row that was not tested."""
    from_memory: bool = False
    """Neither tested nor documented; check it before relying on it."""

    def __post_init__(self) -> None:
        """Refuse a row without a reason, or without exactly one origin."""
        if not self.why.strip():
            raise ValueError("needs `why`")
        if sum(map(bool, (self.tested, self.read, self.from_memory))) != 1:
            raise ValueError("needs exactly one of `tested`, `read`, `from_memory`")
        if self.read and not self.read.startswith("https://"):
            raise ValueError("`read` must be an https address")

    @property
    def origin(self) -> str:
        """The origin, as text."""
        if self.from_memory:
            return "from memory: check it before you rely on it"
        return f"tested with {self.tested}" if self.tested else f"read: {self.read}"


class Route(Row, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Requests that only the backend may answer: by exactly one of path, cookie, query.

    `*` stands for any characters and `?` for one, as in the conditions of an Application Load Balancer.
    """

    path: str = ""
    """Pattern for the path of the URL, case-sensitive."""
    cookie: str = ""
    """Pattern for the Cookie header, case-insensitive."""
    query: str = ""
    """Pattern `KEY=VALUE` for one pair of the query string, case-insensitive."""
    matches: tuple[str, ...] = ()
    """Examples that go to the backend: a URL path, a Cookie header, or a query string."""

    def __post_init__(self) -> None:
        """Refuse a row without exactly one of path, cookie and query."""
        super().__post_init__()
        if sum(map(bool, (self.path, self.cookie, self.query))) != 1:
            raise ValueError("needs exactly one of `path`, `cookie`, `query`")
        if self.query and not all(self.query.partition("=")[::2]):
            raise ValueError("`query` must be KEY=VALUE")

    @property
    def kind(self) -> str:
        """`path`, `cookie` or `query`."""
        return "path" if self.path else "cookie" if self.cookie else "query"

    @property
    def pattern(self) -> str:
        """The pattern of that kind."""
        return self.path or self.cookie or self.query


class Exclude(Row, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A pattern of `tree.exclude`."""

    pattern: str
    """gitignore pattern, relative to the directory of the CMS."""
    matches: tuple[str, ...]
    """Example paths that the pattern excludes; directories end with `/`."""
    keeps: tuple[str, ...]
    """Example paths that the pattern does not exclude, such as the parent directory."""


class Writable(Row, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A directory in which PHP needs write permission on the frontends."""

    path: str
    """Relative to the directory of the CMS."""


class Setting(Row, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Lines for a configuration file."""

    about: str
    """Subject: `session`, `cache`, `opcache`, `proxy` (needed behind a load balancer) or `frontend` (only on frontends)."""
    file: str
    """The file into which the lines belong."""
    text: str
    """The lines. `CACHE_HOST` is a placeholder for the host of Redis."""


class Preset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The preset of one CMS."""

    title: str
    """Name of the CMS, for display."""
    release: str
    """Release of the CMS to which the rows apply."""
    parameters: dict[str, str] = {}
    """Parameters in which installations differ, such as the name of the admin directory, with their defaults."""
    route: tuple[Route, ...]
    exclude: tuple[Exclude, ...]
    writable: tuple[Writable, ...]
    setting: tuple[Setting, ...]

    @property
    def excludes(self) -> tuple[str, ...]:
        """The exclude patterns that `tree.preset` adds, with unset parameters at their defaults."""
        return tuple(row.pattern for row in self.filled({}).exclude)

    def filled(self, values: Mapping[str, str]) -> Preset:
        """Return the preset with the parameters filled in.

        Args:
            values: values by parameter name; missing parameters get their defaults.

        Raises:
            ConfigError: if there is no such parameter, or its value has characters that are not allowed in a pattern.
        """
        for name, value in values.items():
            if name not in self.parameters:
                known = ", ".join(self.parameters) or "none"
                raise ConfigError(name, f"{self.title} has no such parameter; known: {known}")
            if not _VALUE.fullmatch(value):
                raise ConfigError(name, f"may hold letters, digits and ._/- only, got {value!r}")
        given = {**self.parameters, **values}

        def put(text: str) -> str:
            return _PARAMETER.sub(lambda match: given.get(match[1], match[0]), text)

        def put_all(rows: Iterable[T], *fields: str) -> tuple[T, ...]:
            return tuple(_replaced(row, fields, put) for row in rows)

        return msgspec.structs.replace(
            self,
            parameters=given,
            route=put_all(self.route, "path", "cookie", "query", "matches"),
            exclude=put_all(self.exclude, "pattern", "matches", "keeps"),
            writable=put_all(self.writable, "path"),
        )


def names() -> tuple[str, ...]:
    """Return the names of all presets, sorted."""
    found = (item.name for item in files(__package__).joinpath("cms").iterdir())
    return tuple(sorted(n.removesuffix(_SUFFIX) for n in found if n.endswith(_SUFFIX)))


def load(name: str) -> Preset:
    """Read one preset.

    Raises:
        ConfigError: if there is no preset of that name, or its file is malformed.
    """
    if name not in names():
        raise ConfigError("preset", f"there is no preset {name!r}; known: {', '.join(names())}")
    file = files(__package__).joinpath("cms", name + _SUFFIX)
    try:
        return msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), Preset)
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigError(f"preset {name}", str(error)) from error


def _replaced(row: T, fields: Iterable[str], put: Callable[[str], str]) -> T:
    changes = {}
    for field in fields:
        old = getattr(row, field)
        changes[field] = put(old) if isinstance(old, str) else tuple(map(put, old))
    return msgspec.structs.replace(row, **changes)  # type: ignore[type-var]  # T is one of our structs
