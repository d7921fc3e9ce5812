"""Links in the documentation lead to files that exist, and CONTRIBUTING.md names existing paths."""

import re

import pytest

from replicator.engine.changes.reader import ON_BACKEND
from replicator.engine.frontend.answers import KEPT
from replicator.wire.changes import REASONS
from tests.support import PROJECT

PAGES = [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("bench/*.md")]
LINKS = sorted(
    {
        (str(page.relative_to(PROJECT)), link)
        for page in PAGES
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text())
        if "://" not in link
    }
)
CONTRIBUTING = (PROJECT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_a_link_leads_to_a_file_or_directory(page, link):
    assert ((PROJECT / page).parent / link).exists()


def test_contributing_names_existing_paths():
    names = {name for name in re.findall(r"`([\w./-]+)`", CONTRIBUTING) if "/" in name}
    made = {".venv", ".venv/dist"}
    places = (PROJECT, PROJECT / "replicator")
    assert names - made
    assert not [n for n in names - made if not any((place / n).exists() for place in places)]


def test_contributing_names_existing_targets_of_make():
    targets = set(re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([\w-]+)", CONTRIBUTING))
    assert named
    assert named <= targets


def test_the_table_of_refusals_has_every_reason():
    page = (PROJECT / "docs/operations.md").read_text()
    section = page.split("### What a frontend refuses")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([^`]+)`", section, re.MULTILINE)) == {*REASONS, KEPT, ON_BACKEND}
