"""Each failure has its reason on the wire."""

import errno
import os

import pytest

from replicator.agent.refusals import Refused, refusal_of
from replicator.errors import DeltaError, PathRefused
from replicator.wire import changes


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, changes.NO_SPACE),
        (errno.EDQUOT, changes.NO_SPACE),
        (errno.EACCES, changes.DENIED),
        (errno.EROFS, changes.DENIED),
        (errno.ELOOP, changes.PATH_REFUSED),
        (errno.ENOTDIR, changes.PATH_REFUSED),
        (errno.ENOENT, changes.VANISHED),
        (errno.ENOTEMPTY, changes.NOT_EMPTY),
        (errno.EIO, changes.FAILED),
    ],
)
def test_an_errno_becomes_a_reason_with_the_kernels_words(number, reason):
    refusal = refusal_of(OSError(number, os.strerror(number)))
    assert (refusal.reason, refusal.detail) == (reason, os.strerror(number))


def test_our_own_errors_keep_their_meaning():
    ours = Refused(changes.BASE_MISMATCH, "another size")
    assert refusal_of(ours) is ours
    assert refusal_of(PathRefused("no")).reason == changes.PATH_REFUSED
    assert refusal_of(DeltaError("no")).reason == changes.BASE_MISMATCH


def test_a_surprise_is_a_failure_that_names_itself_briefly():
    refusal = refusal_of(ValueError("x" * 9999))
    assert refusal.reason == changes.FAILED
    assert refusal.detail.startswith("ValueError: xxx")
    assert len(refusal.detail) <= 550


def test_every_reason_is_one_that_the_wire_knows():
    numbers = [n for n in errno.errorcode if isinstance(n, int)]
    assert {refusal_of(OSError(n, "x")).reason for n in numbers} <= changes.REASONS
