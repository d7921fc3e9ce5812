"""What tests need of the machine: found, or the test is skipped, and fails where nothing may be missing."""

import functools
import os
import shutil

import pytest


def missing(what):
    """Skip the test, or fail it in CI, which installs all that is needed."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI is set")
    pytest.skip(f"{what} is missing")


@functools.cache
def find(name):
    """Return a program's absolute path, also from where only root looks; None if there is none."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/sbin")
