"""docs/cms.md names every preset and only what exists."""

import re
import textwrap
import tomllib

import pytest

from replicator import presets
from replicator.config import parse
from replicator.presets.rendering import render
from tests.support import PROJECT

TEXT = (PROJECT / "docs/cms.md").read_text()


@pytest.mark.parametrize("name", presets.names())
def test_the_table_has_each_cms_with_what_was_tried(name):
    (row,) = [line for line in TEXT.splitlines() if f"| `{name}` |" in line]
    rows = presets.load(name)
    tried = [r.tested for r in (*rows.route, *rows.exclude) if r.tested]
    assert ("no, read only" in row) == (not tried)
    assert all(release in row for release in set(tried))


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT))))
def test_what_the_guide_points_to_exists(target):
    assert (PROJECT / "docs" / target.partition("#")[0]).exists()


def test_parameters_that_the_guide_names_are_in_the_template():
    template = (PROJECT / "deploy/aws/template.yaml").read_text()
    step = TEXT[TEXT.index("Add to `parameters.json`") : TEXT.index("4. **Settings")]
    for name in re.findall(r"`([A-Z]\w+)`", step):
        assert f"\n  {name}:\n" in template


def test_the_configuration_of_the_guide_is_accepted_below_what_the_preset_prints():
    (block,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    preset = presets.load("wordpress").filled({})
    tree = render(preset, "toml", name="wordpress", source="/var/www/html")
    config = parse(tomllib.loads(tree + textwrap.dedent(block)), base=PROJECT)
    assert config.tree[0].owner == "root:www-data"
    assert config.tree[0].ready_file
    assert config.discovery
