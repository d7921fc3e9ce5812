"""The file of targets: private, and nothing when it is damaged."""

import pytest

from replicator.app.targets import open_targets
from replicator.wire.messages import Opened

OPENED = Opened(1, 0, 0, identity="1", doubt="anybody could")


def test_what_was_saved_is_known_after_a_restart(tmp_path):
    path = tmp_path / "targets.json"
    targets = open_targets(path)
    targets.refusal("a", b"/site", OPENED)
    targets.save()
    assert path.stat().st_mode & 0o777 == 0o600
    assert open_targets(path).refusal("a", b"/site", OPENED._replace(identity="2"))


@pytest.mark.parametrize("text", ["", "[1]", '"a"', '{"a": ', "[" * 100_000, "\xff"])
def test_a_damaged_file_is_as_good_as_none(tmp_path, text):
    path = tmp_path / "targets.json"
    path.write_text(text, "latin-1")
    assert open_targets(path).refusal("a", b"/site", OPENED) == ""
