"""Render a preset as text, JSON, nginx maps, a `[[tree]]` table, or parameters of the CloudFormation template."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

import msgspec

from replicator.errors import ConfigError
from replicator.presets.settings import Preset, Row, load

VALUES_PER_RULE = 3
"""Maximum number of values in a path condition. A rule of an Application Load Balancer takes five values in all, a condition three
(AWS, "Condition types for listener rules", "Condition basics")."""

WILDCARDS_PER_RULE = 5
"""Maximum number of wildcards in a rule (AWS, "Quotas for your Application Load Balancers", "Rules")."""

LONGEST_VALUE = 128
"""Maximum length in characters of a path pattern or header value (same source)."""

PATH_RULES = 6
QUERY_RULES = 4
COOKIES = 2
"""Numbers of path rules, query rules and cookies for which `deploy/aws/template.yaml` has parameters. Cookies share one rule."""

_ENCODED = {":": "(?::|%3A)", "/": "(?:/|%2F)"}
"""Characters that browsers may percent-encode in a query string, as regular expressions."""


def render(preset: Preset, form: str, *, name: str, source: str) -> str:
    """Return a preset in one of `FORMATS`.

    Args:
        preset: the preset, with its parameters filled in.
        form: key of `FORMATS`.
        name: name of the preset.
        source: directory of the CMS on the backend.

    Raises:
        ConfigError: if the preset has more routes than the CloudFormation template has parameters.
    """
    return FORMATS[form](preset, name, source)


def _text(preset: Preset, name: str, _source: str) -> str:
    lines = [f"{preset.title} ({name}), {preset.release}"]
    lines += [f"  parameter {key} = {value!r}" for key, value in preset.parameters.items()]
    for heading, rows in (
        ("to the backend", [(f"{r.kind} {r.pattern}", r) for r in preset.route]),
        ("not replicated", [(r.pattern, r) for r in preset.exclude]),
        ("writable on frontends", [(r.path, r) for r in preset.writable]),
    ):
        lines += ["", f"{heading}:", *(line for what, row in rows for line in _row(what, row))]
    for setting in preset.setting:
        lines += ["", f"{setting.about}, in {setting.file}:", *_row("", setting)[1:]]
        lines += [f"      {line}" for line in setting.text.strip().splitlines()]
    return "\n".join([*lines, ""])


def _row(what: str, row: Row) -> list[str]:
    return [f"  {what}", f"      {row.why}", f"      ({row.origin})"]


def _json(preset: Preset, name: str, _source: str) -> str:
    return json.dumps({"name": name, **msgspec.to_builtins(preset)}, indent=2) + "\n"


def _tree(preset: Preset, name: str, source: str) -> str:
    common = load(name).excludes
    own = [row.pattern for row in preset.exclude if row.pattern not in common]
    lines = ["[[tree]]", f"source = {json.dumps(source)}", f"preset = {json.dumps(name)}"]
    lines += [f"# excludes {pattern}" for pattern in common]
    lines += [f"exclude = {json.dumps(own)}"] if own else []
    lines += [f"# PHP must be able to write on frontends: {row.path}" for row in preset.writable]
    return "\n".join([*lines, ""])


def _nginx(preset: Preset, name: str, _source: str) -> str:
    lines = [
        f"# {preset.title}: requests that only the backend answers (`replicator preset show {name} --format nginx`).",
        "# Put this into http {}. On the router use `proxy_pass http://$replicator_upstream;`, with upstreams `backend` and `frontends`.",
        "# On frontends put `if ($replicator_refused) { return 403; }` into server {}, to refuse such requests made directly to them.",
    ]
    for kind, variable in (("path", "$uri"), ("cookie", "$http_cookie"), ("query", "$args")):
        lines += ["", f"map {variable} $replicator_by_{kind} {{", "    default 0;"]
        lines += [
            f'    "{regular_expression(route.kind, route.pattern)}" 1;'
            for route in preset.route
            if route.kind == kind
        ]
        lines.append("}")
    lines += [
        "",
        'map "$replicator_by_path$replicator_by_cookie$replicator_by_query" $replicator_upstream {',
        "    default frontends;",
        "    ~1 backend;",
        "}",
        'map "$replicator_by_path$replicator_by_query" $replicator_refused {',
        "    default 0;",
        "    ~1 1;",
        "}",
    ]
    return "\n".join([*lines, ""])


def regular_expression(kind: str, pattern: str) -> str:
    """Return a route's pattern as a regular expression of nginx's `map`.

    It begins with `~` (case-sensitive) or `~*`.

    Args:
        kind: `path`, `cookie` or `query`.
        pattern: with the wildcards `*` and `?`.
    """
    wild = {"*": ".*", "?": ".", "-": "-"}
    if kind == "query":
        body = "".join(wild.get(c) or _ENCODED.get(c) or re.escape(c) for c in pattern)
        return f"~*(?:^|&){body.replace('.*', '[^&]*')}(?:&|$)"
    body = "".join(wild.get(c) or re.escape(c) for c in pattern)
    return f"{'~*' if kind == 'cookie' else '~'}^{body}$"


def _cloudformation(preset: Preset, _name: str, _source: str) -> str:
    parameters = cloudformation_parameters(preset)
    rows = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    return json.dumps(rows, indent=2) + "\n"


def cloudformation_parameters(preset: Preset) -> dict[str, str]:
    """Return the parameters of `deploy/aws/template.yaml` that route requests to the backend, by name.

    Raises:
        ConfigError: if the preset has more routes than the template has parameters.
    """

    def of(kind: str) -> list[str]:
        return [route.pattern for route in preset.route if route.kind == kind]

    parameters = _numbered("BackendPaths", [",".join(rule) for rule in rules(of("path"))], PATH_RULES)  # fmt: skip
    cookies = of("cookie")
    if len(cookies) > COOKIES:
        raise ConfigError(preset.title, f"at most {COOKIES} cookies are possible")
    parameters["BackendCookies"] = ",".join(cookies)
    return parameters | _numbered("BackendQuery", of("query"), QUERY_RULES)


def rules(values: Sequence[str]) -> list[list[str]]:
    """Distribute path patterns over listener rules within AWS's limits per rule (VALUES_PER_RULE, WILDCARDS_PER_RULE)."""
    found: list[list[str]] = []
    for value in values:
        wild = sum(_wildcards(other) for other in found[-1]) if found else 0
        if not found or len(found[-1]) == VALUES_PER_RULE or wild + _wildcards(value) > WILDCARDS_PER_RULE:  # fmt: skip
            found.append([])
        found[-1].append(value)
    return found


def _wildcards(value: str) -> int:
    return value.count("*") + value.count("?")


def _numbered(key: str, values: Sequence[str], most: int) -> dict[str, str]:
    if len(values) > most:
        raise ConfigError(key, f"at most {most} are possible")
    return {f"{key}{n + 1}": values[n] if n < len(values) else "" for n in range(most)}


FORMATS: dict[str, Callable[[Preset, str, str], str]] = {
    "text": _text,
    "json": _json,
    "toml": _tree,
    "nginx": _nginx,
    "cloudformation": _cloudformation,
}
"""Formats by name, each with its function of preset, name and source."""
