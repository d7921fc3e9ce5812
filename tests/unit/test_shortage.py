"""What a process lacks is named in one sentence, wherever the error comes from."""

import errno
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from replicator.app.daemon import _reload
from replicator.engine.supervision import sentence
from replicator.errors import SourceError
from replicator.shortage import shortage


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (MemoryError(), "MemoryMax="),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "MemoryMax="),
        (ImportError("x.so: failed to map segment from shared object"), "MemoryMax="),
        (RuntimeError("can't start new thread"), "TasksMax="),
        (OSError(errno.EMFILE, "Too many open files"), "LimitNOFILE="),
        (OSError(errno.ENFILE, "Too many open files in system"), "fs.file-max"),
    ],
    ids=repr,
)
def test_it_names_the_limit_to_raise(error, remedy):
    assert remedy in shortage(error)
    assert sentence(ExceptionGroup("", [error])) == (shortage(error), False)
    later = RuntimeError("Cannot close a running event loop")
    later.__context__ = error
    assert shortage(later) == shortage(error)


@pytest.mark.parametrize(
    "error", [None, OSError(errno.ENOENT, "x"), RuntimeError("x"), ImportError("x")], ids=repr
)
def test_another_error_is_not_taken_for_a_shortage(error):
    assert shortage(error) == ""


def test_an_error_that_explains_itself_keeps_its_text():
    error = SourceError("The catalog cannot be used.")
    error.__cause__ = OSError(errno.EMFILE, "Too many open files")
    assert sentence(error) == ("The catalog cannot be used.", False)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENFILE, "x"), shortage(OSError(errno.ENFILE, "x"))),
        (KeyError("x"), "internal error: KeyError('x')"),
    ],
    ids=repr,
)
async def test_a_reload_that_fails_says_whether_that_is_a_shortage_or_a_bug(error, reason):
    about = Mock()
    with capture_logs() as logged:
        await _reload(Mock(), Mock(side_effect=error), Mock(), about)
    about.refused.assert_called_once_with(reason)
    (line,) = logged
    assert (line["log_level"], line["reason"]) == ("error", reason)
    assert bool(line["exc_info"]) is isinstance(error, KeyError)
