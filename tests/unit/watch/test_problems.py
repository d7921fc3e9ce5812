"""The problem of directories that are not watched names the limit that was reached."""

import errno

import pytest

from replicator.watch import problems
from replicator.watch.arm import Unwatched


@pytest.mark.parametrize(
    ("kernel", "namespace", "name", "needed"),
    [
        ("100", "5000", "fs.inotify.max_user_watches", 107),
        ("5000", "100", "user.max_inotify_watches", 107),
        ("100", None, "fs.inotify.max_user_watches", 107),
        (None, None, "fs.inotify.max_user_watches", 97),
    ],
)
def test_the_lower_of_two_limits_is_named(tmp_path, monkeypatch, kernel, namespace, name, needed):
    for variable, limit in (("LIMIT_FILE", kernel), ("NAMESPACE_FILE", namespace)):
        file = tmp_path / variable
        if limit is not None:
            file.write_text(limit)
        monkeypatch.setattr(problems, variable, file)
    (text,) = problems.describe(b"/srv", {b"d": Unwatched(errno.ENOSPC, 7)}, 90, 60.0)
    assert f"because {name} is reached" in text
    assert f"at least {needed} are needed" in text
