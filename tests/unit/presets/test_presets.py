"""The presets are consistent: patterns match their examples, and routes fit into a load balancer's rules."""

import fnmatch
import json
import re
import tomllib

import pytest
from click.testing import CliRunner

from replicator import presets
from replicator.cli import commands
from replicator.config import parse
from replicator.core.filters import Filter
from replicator.errors import ConfigError
from replicator.model import DIRECTORY, FILE
from replicator.presets.rendering import (
    COOKIES,
    LONGEST_VALUE,
    WILDCARDS_PER_RULE,
    cloudformation_parameters,
    regular_expression,
    rules,
)
from tests.support import PROJECT

NAMES = ("cs-cart", "drupal", "magento", "mediawiki", "opencart", "prestashop", "wordpress")
ALLOWED = re.compile(r"[A-Za-z0-9_\-.$/~\"'@:+&*?]+")
"""What AWS takes in a path condition."""


def show(*arguments):
    done = CliRunner().invoke(commands, ["preset", "show", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def excluded(preset, path):
    """What the daemon would decide of an example."""
    kind = DIRECTORY if path.endswith("/") else FILE
    return Filter(preset.excludes).excluded(path.rstrip("/").encode(), kind)


def nginx_match(kind, pattern, text):
    flag, _, expression = regular_expression(kind, pattern).partition("(?:" if kind == "query" else "^")  # fmt: skip
    opening = "(?:" if kind == "query" else "^"
    return re.search(opening + expression, text, re.IGNORECASE if flag == "~*" else 0)


def test_every_cms_of_the_guide_has_a_file_in_the_package_and_deploy_leads_there():
    assert presets.names() == NAMES
    assert sorted(p.stem for p in (PROJECT / "deploy/cms").glob("*.toml")) == list(NAMES)
    for name in NAMES:  # a symlink each; copies in a source distribution
        one, other = (
            PROJECT / place / f"{name}.toml" for place in ("deploy/cms", "replicator/presets/cms")
        )
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_excludes_match_what_their_rows_claim_and_nothing_that_they_keep(name):
    preset = presets.load(name).filled({})
    for row in preset.exclude:
        assert row.matches
        assert row.keeps
        for path in row.matches:
            assert Filter([row.pattern]).excluded(path.encode(), FILE), (row.pattern, path)
            assert excluded(preset, path), path
        for path in row.keeps:
            assert not excluded(preset, path), path


@pytest.mark.parametrize("name", NAMES)
def test_no_exclude_takes_a_directory_away_in_which_a_frontend_writes(name):
    preset = presets.load(name).filled({})
    for row in preset.writable:
        assert not excluded(preset, row.path + "/"), row.path
        assert excluded(preset, row.path + "/made-by-a-frontend"), (
            f"{row.path}: a comparison would remove what the frontend wrote"
        )


@pytest.mark.parametrize("name", NAMES)
def test_routes_match_their_examples_on_a_load_balancer_and_in_nginx(name):
    for route in presets.load(name).filled({}).route:
        assert route.matches, route.pattern
        for text in route.matches:
            assert nginx_match(route.kind, route.pattern, text), (route.pattern, text)
            if route.kind == "path":
                assert fnmatch.fnmatchcase(text, route.pattern)
    for route in presets.load(name).filled({}).route:
        assert not nginx_match(route.kind, route.pattern, "/2026/11/a-post/")


@pytest.mark.parametrize("name", NAMES)
def test_routes_stay_within_what_a_load_balancer_takes(name):
    preset = presets.load(name).filled({})
    paths = [route.pattern for route in preset.route if route.kind == "path"]
    for values in rules(paths):
        assert len(values) <= 5
        assert sum(v.count("*") + v.count("?") for v in values) <= WILDCARDS_PER_RULE
    assert [value for values in rules(paths) for value in values] == paths
    assert all(ALLOWED.fullmatch(path) for path in paths)
    cookies = [route.pattern for route in preset.route if route.kind == "cookie"]
    assert len(cookies) <= COOKIES
    assert sum(c.count("*") + c.count("?") for c in cookies) <= WILDCARDS_PER_RULE
    assert all(len(route.pattern) <= LONGEST_VALUE for route in preset.route)


@pytest.mark.parametrize("name", NAMES)
def test_every_format_is_what_it_claims_to_be(name):
    for form in presets.FORMATS:
        assert show(name, "--format", form)
    tree = tomllib.loads(show(name, "--format", "toml", "--source", "/srv/shop"))
    config = parse(tree, base=PROJECT)
    assert config.tree[0].source == "/srv/shop"
    assert config.tree[0].exclude == presets.load(name).excludes
    rows = json.loads(show(name, "--format", "cloudformation"))
    assert {r["ParameterKey"]: r["ParameterValue"] for r in rows} == cloudformation_parameters(
        presets.load(name).filled({})
    )
    assert json.loads(show(name, "--format", "json"))["route"]
    assert "{" not in show(name, "--format", "cloudformation").replace('{\n    "ParameterKey', "")


def test_long_lists_are_split_over_rules_by_values_and_by_wildcards():
    assert rules(["/a", "/b", "/c", "/d"]) == [["/a", "/b", "/c"], ["/d"]]
    assert rules(["*a*", "*b*", "*c*"]) == [["*a*", "*b*"], ["*c*"]]
    assert rules([]) == []


def test_a_parameter_changes_routes_and_excludes_of_a_complete_tree():
    assert '"/manager/*"' in show("opencart", "--format", "toml", "--set", "admin=manager")
    assert '"~^/manager.*$"' in show("opencart", "--format", "nginx", "--set", "admin=manager")
    tree = tomllib.loads(show("opencart", "--format", "toml", "--set", "admin=manager"))
    config = parse(tree, base=PROJECT)
    judge = Filter(config.tree[0].exclude).excluded
    assert judge(b"manager/index.php", FILE)
    assert judge(b"image/cache/a.jpg", FILE)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["wordpres"], "known: cs-cart, drupal, magento, mediawiki, opencart, prestashop, wordpress"),
        (["../../secret"], "there is no preset"),
        (["wordpress", "--set", "admin=x"], "no such parameter; known: base"),
        (["opencart", "--set", "admin=a b"], "letters, digits"),
        (["opencart", "--set", 'admin=";}'], "letters, digits"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_with_what_is(arguments, expected):
    done = CliRunner().invoke(commands, ["preset", "show", *arguments])
    assert isinstance(done.exception, ConfigError)
    assert expected in str(done.exception)


def test_a_tree_gets_its_presets_excludes_before_its_own():
    raw = {"tree": [{"source": "/srv/a", "preset": "wordpress", "exclude": ["*.tmp", "!/wp-content/cache/keep"]}]}  # fmt: skip
    tree = parse(raw, base=PROJECT).tree[0]

    assert tree.exclude == (*presets.load("wordpress").excludes, "*.tmp", "!/wp-content/cache/keep")
    judge = Filter(tree.exclude).excluded
    assert judge(b"wp-content/cache/page.html", FILE)
    assert not judge(b"wp-content/cache/keep", FILE)
    assert not judge(b"wp-content/cache", DIRECTORY)


def test_a_tree_with_an_unknown_preset_is_refused_by_its_key():
    with pytest.raises(ConfigError) as refused:
        parse(
            {"tree": [{"source": "/srv/a"}, {"source": "/srv/b", "preset": "joomla"}]}, base=PROJECT
        )
    assert str(refused.value).startswith("tree[1].preset: there is no preset 'joomla'; known: ")


def test_a_row_must_have_its_source(tmp_path, monkeypatch):
    row = {"path": "/x", "why": "because", "matches": ["/x"]}
    for wrong in ({}, {"tested": "1", "read": "https://example.com"}, {"read": "somewhere"}):
        with pytest.raises(ValueError, match="read"):
            presets.Route(**row, **wrong)
    with pytest.raises(ValueError, match="why"):
        presets.Route(path="/x", why=" ", tested="1")
    with pytest.raises(ValueError, match="exactly one"):
        presets.Route(path="/x", cookie="x", why="because", tested="1")
