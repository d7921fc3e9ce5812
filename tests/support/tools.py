"""Find programs that tests need; a missing one skips the test, or fails it in CI."""

import functools
import os
import shutil

import pytest


def missing(what):
    """Skip the test; fail it in CI, which installs everything that tests need."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI is set")
    pytest.skip(f"{what} is missing")


@functools.cache
def find(name):
    """Return a program's absolute path, searching sbin directories as well; None if it is not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/sbin")
