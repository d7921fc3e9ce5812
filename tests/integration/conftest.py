"""What tests of the whole daemon share."""

import pytest

from tests.support.daemon import Backend, Fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    made = Fleet(tmp_path_factory.mktemp("fleet"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def make(fleet, tmp_path_factory):
    """Return a function: servers -> Backend."""
    made = []

    def make(servers):
        directory = tmp_path_factory.mktemp("b")  # short: a socket's path has an end
        backend = Backend(directory, fleet, servers)
        made.append(backend)
        return backend

    yield make
    for backend in made:
        backend.kill()


@pytest.fixture
def backend(make, servers):
    """A backend that has filled the servers of the module."""
    backend = make(servers)
    backend.start()
    backend.wait_until_equal()
    return backend
