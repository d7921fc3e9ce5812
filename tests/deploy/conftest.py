"""The engines on which `deploy/local` is tried."""

import os

import pytest

from tests.support.local import lacking
from tests.support.namespaces import store
from tests.support.tools import missing

DOCKER = bool(os.environ.get("REPLICATOR_DOCKER"))
"""Set by `.ci/run` if a docker engine runs."""
EVERYTHING = bool(os.environ.get("REPLICATOR_LOCAL_ALL"))


def pytest_configure(config):
    config.addinivalue_line("markers", "both_engines: tried on namespaces even if docker runs")


def pytest_collection_modifyitems(items):
    """With docker, namespaces are tried with a few tests only: each engine takes minutes."""
    for item in items:
        engine = getattr(item, "callspec", None) and item.callspec.params.get("engine")
        if engine == "namespaces" and DOCKER and not EVERYTHING and not item.get_closest_marker("both_engines"):  # fmt: skip
            item.add_marker(pytest.mark.skip(reason="tried on docker; on namespaces, too, with REPLICATOR_LOCAL_ALL=1"))  # fmt: skip


@pytest.fixture(scope="session")
def _namespaces():
    if why := lacking():
        missing(f"what containers of namespaces need ({why})")
    store.mount()
    yield
    store.unmount()


@pytest.fixture(scope="module", params=["docker", "namespaces"])
def engine(request):
    """The name of an engine for `tests.support.local.Local`."""
    if request.param == "docker" and not DOCKER:
        pytest.skip("asked for with REPLICATOR_DOCKER=1, because it builds images")
    if request.param == "namespaces":
        request.getfixturevalue("_namespaces")
    return request.param
