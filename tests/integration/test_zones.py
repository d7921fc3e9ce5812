"""A frontend with a link-local address: its zone names the network interface, in every place where an address is written."""

import pytest

from tests.support.faults import Cable, RemoteSshd

FAR, NEAR = "fe80::aa:2", "fe80::aa:1"


class LinkLocalSshd(RemoteSshd):
    """A server at the other end of a cable that is dialled by its link-local address."""

    def __init__(self, directory, cable, **options):
        super().__init__(directory, cable, **options)
        self.address = f"{FAR}%{cable.near}"

    @property
    def frontend(self):
        return f"[{self.address}]:{self.port}"

    def configuration(self):
        own = f"ListenAddress {self.address}:{self.port}"
        return super().configuration().replace(own, f"ListenAddress [::]:{self.port}")

    def _listening(self):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text.count(f"Server listening on :: port {self.port}.")


@pytest.fixture
def server(fleet, tmp_path):
    cable = Cable()
    try:
        near, far, name = cable.near, cable.far, cable.name
        cable.ip("-6", "address", "add", f"{NEAR}/64", "dev", near, "nodad")
        cable.ip("-n", name, "-6", "address", "add", f"{FAR}/64", "dev", far, "nodad")
        world = tmp_path / "world"
        with LinkLocalSshd(
            tmp_path / "remote", cable, keys=fleet.keys, binds={fleet.root: world}
        ) as made:
            yield made
    finally:
        cable.remove()


@pytest.mark.parametrize("provider", ["static", "file"])
def test_a_frontend_is_named_with_its_zone_everywhere(make, server, provider):
    backend = make([server])
    if provider == "file":
        (backend.directory / "list").write_text(f"# one\n{server.frontend}\n")
        backend.tables["discovery"] = {"provider": "file", "path": "list", "frontends": []}
        backend.configure()
    backend.env["COLUMNS"] = "300"
    backend.fill(5)
    backend.start()
    backend.wait_until_equal()
    assert backend.row(server)["state"] == "live"
    shown = backend.run("status")
    assert server.address in shown.stdout
    for command in (["bootstrap", server.frontend], ["verify", server.frontend], ["check"]):
        done = backend.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert server.address in done.stdout


def test_a_host_with_a_zone_is_filled_by_its_bare_address(make, server):
    backend = make([server])
    backend.configure(servers=[], port=server.port)
    backend.fill(5)
    done = backend.run("bootstrap", server.address)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not backend.differences()


def test_an_unknown_host_key_is_an_error_with_the_zone_of_the_address(make, server):
    backend = make([server])
    (backend.directory / "known_hosts").write_text("")
    done = backend.run("bootstrap", server.frontend)
    assert done.returncode == 1
    assert f"ssh-keyscan -p {server.port} {server.address} >>" in done.stderr
