"""Everything that can go wrong between dialling and the agent's first byte, against real OpenSSH servers.

Each cause has its own class of error, and a sentence that names the host and the remedy.
"""

import asyncio
import contextlib
import os
import pwd
import socket
import subprocess
import threading
import time

import pytest
import structlog

from replicator.config import AUTHENTICATED_CIPHERS, SSHSettings
from replicator.engine.frontend.connection import Connection
from replicator.errors import (
    AgentFailed,
    AgentMissing,
    AgentTooOld,
    ConnectFailed,
    HostKeyRefused,
    LoginRefused,
    TransportError,
)
from replicator.ports import Address
from replicator.transport.cork import Cork
from replicator.transport.ssh import SSHConnector
from replicator.transport.trust import HostKeyPolicy, Pins
from tests.support.sshd import Certificate, Keys, Sshd, find_keygen, find_python, free_port
from tests.support.tools import find, missing
from tests.support.waiting import eventually

USER = "root" if os.geteuid() == 0 else ""


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def server(keys, tmp_path_factory):
    with Sshd(tmp_path_factory.mktemp("sshd"), keys=keys) as running:
        yield running


@pytest.fixture(scope="module")
def signed(keys, tmp_path_factory):
    directory = tmp_path_factory.mktemp("signed")
    with Sshd(directory, keys=keys, address="127.0.0.2", certificate=Certificate()) as running:
        yield running


@pytest.fixture
def known(tmp_path):
    file = tmp_path / "known_hosts"
    file.touch()
    return file


def _sockets():
    """Open sockets and pipes, each by a name that is never used again."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{name}"))
    return {name for name in found if name.startswith(("socket:", "pipe:"))}


@pytest.fixture(autouse=True)
async def no_socket_stays(keys, server, signed):
    """A transport that was aborted closes its socket a turn of the loop later; it must do so."""
    before = _sockets()
    yield
    await eventually(lambda: _sockets() <= before, lambda: f"{_sockets() - before} to be closed")


@pytest.fixture
def settings(keys, known):
    return lambda **more: SSHSettings(
        **{"user": USER, "identity": str(keys.identity), "known_hosts": str(known), **more}
    )


def address(server):
    return Address(server.address, port=server.port)


async def reach(settings, where):
    """Connect; return what the agent sends to a silent backend: no output and no error."""
    channel = await SSHConnector(settings).connect(where)
    try:
        return channel.diagnosis()
    finally:
        await channel.close()


async def refused(settings, where, wanted):
    """Connect in vain; return the error's sentence."""
    before = asyncio.all_tasks()
    with pytest.raises(TransportError) as caught:
        await reach(settings, where)
    assert type(caught.value) is wanted, repr(caught.value)
    text = str(caught.value)
    assert "\n" not in text
    assert not caught.value.permanent
    await eventually(lambda: asyncio.all_tasks() <= before, lambda: f"{asyncio.all_tasks()}")
    return text


async def test_a_trusted_server_is_reached(server, settings, known):
    known.write_text(server.known_hosts_line())
    assert await reach(settings(), address(server)) == ""


async def test_a_hashed_entry_is_understood(server, settings, known):
    # ssh-keygen -H hashes names; Debian's ssh does it by default.
    known.write_text(server.known_hosts_line())
    subprocess.run([find_keygen(), "-q", "-H", "-f", known], check=True, capture_output=True)
    assert server.address not in known.read_text()
    assert await reach(settings(), address(server)) == ""


class TestHostKeys:
    async def test_unknown(self, server, settings):
        text = await refused(settings(), address(server), HostKeyRefused)
        assert f"[{server.address}]:{server.port}" in text
        assert server.fingerprint() in text
        assert "ssh-keyscan" in text

    async def test_unknown_while_others_are_known(self, server, settings, known):
        known.write_text(server.known_hosts_line().replace(server.address, "127.9.9.9"))
        text = await refused(settings(), address(server), HostKeyRefused)
        assert f"[{server.address}]:{server.port}" in text
        assert "CHANGED" not in text

    async def test_a_line_without_a_port_serves_for_any_as_with_ssh(self, server, settings, known):
        known.write_text(f"{server.address} {server.host_key}\n")
        assert await reach(settings(), address(server)) == ""

    async def test_changed(self, server, settings, known, tmp_path):
        with Sshd(tmp_path / "other", keys=server.keys) as other:
            known.write_text(server.known_hosts_line().replace(str(server.port), str(other.port)))
            text = await refused(settings(), address(other), HostKeyRefused)
            assert "CHANGED" in text
            assert f"[{other.address}]:{other.port}" in text
            assert other.fingerprint() in text
            assert other.logins() == 0

    async def test_an_old_and_the_new_key_side_by_side(self, server, settings, known, keys):
        old = " ".join((keys.directory / "client.pub").read_text().split()[:2])
        stale = server.known_hosts_line().replace(server.host_key, old)
        known.write_text(stale + server.known_hosts_line())
        assert await reach(settings(), address(server)) == ""

    async def test_revoked(self, server, settings, known):
        known.write_text(server.known_hosts_line() + server.known_hosts_line("@revoked"))
        text = await refused(settings(), address(server), HostKeyRefused)
        assert "revoked" in text
        assert server.fingerprint() in text
        assert f"[{server.address}]:{server.port}" in text

    async def test_only_revoked(self, server, settings, known):
        known.write_text(server.known_hosts_line("@revoked"))
        assert "revoked" in await refused(settings(), address(server), HostKeyRefused)

    async def test_file_is_missing(self, server, settings, tmp_path):
        file = tmp_path / "nowhere"
        text = await refused(settings(known_hosts=str(file)), address(server), HostKeyRefused)
        assert str(file) in text
        assert "No such file" in text

    async def test_setting_is_empty(self, server, settings):
        text = await refused(settings(known_hosts=""), address(server), HostKeyRefused)
        assert "known_hosts is empty" in text

    async def test_file_is_nonsense(self, server, settings, known):
        known.write_bytes(b"\0\xff\xfe not a host line\n@what is this\n")
        text = await refused(settings(), address(server), HostKeyRefused)
        assert server.address in text

    async def test_the_file_is_read_at_every_connect(self, server, settings, known):
        connector = SSHConnector(settings())
        where = address(server)
        with pytest.raises(HostKeyRefused):
            await connector.connect(where)
        known.write_text(server.known_hosts_line())
        await (await connector.connect(where)).close()
        known.write_text("")
        with pytest.raises(HostKeyRefused):
            await connector.connect(where)


class TestHostCertificates:
    async def test_an_authority_vouches(self, signed, settings, known):
        known.write_text(signed.ca_line())
        assert await reach(settings(), address(signed)) == ""

    async def test_without_the_authority_it_is_unknown(self, signed, settings):
        text = await refused(settings(), address(signed), HostKeyRefused)
        assert signed.address in text

    async def test_a_revoked_authority(self, signed, settings, known):
        line = signed.ca_line()
        known.write_text(line + line.replace("@cert-authority", "@revoked"))
        text = await refused(settings(), address(signed), HostKeyRefused)
        assert signed.address in text

    async def test_expired(self, keys, settings, known, tmp_path):
        certificate = Certificate(validity="-2h:-1h")
        with Sshd(tmp_path / "old", keys=keys, certificate=certificate) as old:
            known.write_text(old.ca_line())
            text = await refused(settings(), address(old), HostKeyRefused)
            assert old.address in text
            assert "expired" in text

    async def test_for_another_host(self, keys, settings, known, tmp_path):
        certificate = Certificate(principals="somebody.example")
        with Sshd(tmp_path / "other", keys=keys, certificate=certificate) as other:
            known.write_text(other.ca_line())
            text = await refused(settings(), address(other), HostKeyRefused)
            assert other.address in text
            assert "principal" in text


class TestLogin:
    async def test_the_wrong_key(self, server, settings, known, keys):
        known.write_text(server.known_hosts_line())
        other_key = keys.make("other_key")
        text = await refused(settings(identity=str(other_key)), address(server), LoginRefused)
        assert server.address in text
        assert str(other_key) in text
        assert "authorized_keys" in text

    async def test_the_wrong_user(self, server, settings, known):
        known.write_text(server.known_hosts_line())
        text = await refused(settings(user="nobody-here"), address(server), LoginRefused)
        assert "nobody-here" in text
        assert server.address in text

    async def test_a_user_id_without_a_name_needs_the_name_to_log_in_with(
        self, server, settings, known, monkeypatch
    ):
        known.write_text(server.known_hosts_line())
        user = pwd.getpwuid(os.geteuid()).pw_name
        monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
        for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
            monkeypatch.setenv(name, "")  # so that it is as before afterwards
            monkeypatch.delenv(name)
        for _ in range(2):
            text = await refused(settings(user=""), address(server), LoginRefused)
            assert "has no name: set ssh.user" in text
        assert await reach(settings(user=user), address(server)) == ""

    async def test_the_key_is_missing(self, server, settings, known, tmp_path):
        known.write_text(server.known_hosts_line())
        file = tmp_path / "no-key"
        text = await refused(settings(identity=str(file)), address(server), LoginRefused)
        assert str(file) in text

    async def test_the_key_needs_a_passphrase(self, server, settings, known, keys):
        known.write_text(server.known_hosts_line())
        locked = keys.make("locked", passphrase="correct horse")
        text = await refused(settings(identity=str(locked)), address(server), LoginRefused)
        assert str(locked) in text
        assert "passphrase" in text

    async def test_the_key_is_none(self, server, settings, known, tmp_path):
        known.write_text(server.known_hosts_line())
        file = tmp_path / "key"
        file.write_text("hello\n")
        text = await refused(settings(identity=str(file)), address(server), LoginRefused)
        assert str(file) in text

    async def test_no_session_is_opened(self, keys, settings, known, tmp_path):
        with Sshd(tmp_path / "closed", keys=keys, extra="MaxSessions 0") as closed:
            known.write_text(closed.known_hosts_line())
            text = await refused(settings(), address(closed), AgentFailed)
            assert closed.address in text


class TestNetwork:
    async def test_nobody_listens(self, settings):
        port = free_port("127.0.0.3")
        text = await refused(settings(), Address("127.0.0.3", port=port), ConnectFailed)
        assert f"127.0.0.3:{port}" in text
        assert "refused" in text

    async def test_a_name_that_cannot_be_one(self, settings):
        text = await refused(settings(), Address("a" * 70 + ".example"), ConnectFailed)
        assert "a" * 70 in text

    async def test_an_unknown_name(self, settings):
        text = await refused(settings(), Address("no-such-host.invalid"), ConnectFailed)
        assert "no-such-host.invalid" in text
        assert "unknown host name" in text or "resolve" in text

    async def test_a_server_that_never_answers(self, settings):
        with socket.create_server(("127.0.0.4", 0)) as silent:
            port = silent.getsockname()[1]
            begun = time.monotonic()
            text = await refused(
                settings(connect_timeout=0.5), Address("127.0.0.4", port=port), ConnectFailed
            )
        assert time.monotonic() - begun > 0.4
        assert f"127.0.0.4:{port}" in text
        assert "no answer in time" in text
        assert "22" not in text.replace(str(port), "")

    async def test_a_server_that_stops_in_the_handshake(self, settings):
        with talker(b"SSH-2.0-OpenSSH_9.2\r\n", hold=True) as port:
            where = Address("127.0.0.4", port=port)
            text = await refused(settings(connect_timeout=0.5), where, ConnectFailed)
        assert "127.0.0.4" in text

    async def test_a_server_that_hangs_up_at_once(self, settings):
        with talker(b"") as port:
            where = Address("127.0.0.4", port=port)
            text = await refused(settings(), where, ConnectFailed)
        assert f"127.0.0.4:{port}" in text

    async def test_a_server_of_another_protocol_is_an_error(self, settings):
        with talker(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 100_000) as port:
            where = Address("127.0.0.4", port=port)
            text = await refused(settings(), where, ConnectFailed)
        assert f"127.0.0.4:{port}" in text

    async def test_a_server_that_talks_without_end(self, settings):
        with talker(b"y" * (1 << 16), forever=True) as port:
            where = Address("127.0.0.4", port=port)
            text = await refused(settings(connect_timeout=5), where, ConnectFailed)
        assert f"127.0.0.4:{port}" in text


CTR = "Ciphers aes256-ctr,aes192-ctr,aes128-ctr\nMACs hmac-sha2-512,hmac-sha2-256"
"""What the hardening guides of the US defense department (STIG) asked of sshd."""


class TestAlgorithms:
    async def test_a_server_without_a_common_cipher_is_an_error_with_both_lists(
        self, keys, settings, known, tmp_path
    ):
        with Sshd(tmp_path / "sshd", keys=keys, extra=CTR) as hardened:
            known.write_text(hardened.known_hosts_line())
            text = await refused(settings(), address(hardened), ConnectFailed)
        assert hardened.address in text
        assert "offers aes256-ctr, aes192-ctr, aes128-ctr" in text
        assert "aes128-gcm@openssh.com" in text
        assert "ssh.ciphers" in text

    @pytest.mark.parametrize("cipher", ["aes256-ctr", "aes128-cbc"])
    @pytest.mark.parametrize("mac", ["hmac-sha2-512", "hmac-sha2-256-etm@openssh.com"])
    async def test_a_named_cipher_is_used_with_its_mac(
        self, keys, settings, known, tmp_path, cipher, mac
    ):
        extra = f"Ciphers {cipher}\nMACs {mac}"
        ciphers = (*AUTHENTICATED_CIPHERS, cipher)
        with Sshd(tmp_path / "sshd", keys=keys, extra=extra) as hardened:
            known.write_text(hardened.known_hosts_line())
            with structlog.testing.capture_logs() as logs:
                channel = await SSHConnector(settings(ciphers=ciphers)).connect(address(hardened))
                link = Connection(channel, lambda *_: None, lambda: None)
                receiver = asyncio.create_task(link.receive())
                await link.exchange_hello()
                receiver.cancel()
                await channel.close()
        warnings = [line for line in logs if line["log_level"] == "warning"]
        assert len(warnings) == 1
        assert warnings[0]["ciphers"] == [cipher]

    async def test_a_server_with_better_ciphers_is_reached_by_these(
        self, server, settings, known, monkeypatch
    ):
        known.write_text(server.known_hosts_line())
        ciphers = (*AUTHENTICATED_CIPHERS, "aes256-ctr")
        used = []
        monkeypatch.setattr(
            Cork,
            "__init__",
            _before(Cork.__init__, lambda c: used.append(c.get_extra_info("send_cipher"))),
        )
        assert await reach(settings(ciphers=ciphers), address(server)) == ""
        assert used == ["aes128-gcm@openssh.com"]

    @pytest.mark.parametrize(
        ("extra", "kind", "offered"),
        [
            ("Ciphers aes256-ctr\nMACs umac-64@openssh.com", "MAC", "umac-64@openssh.com"),
            (
                "KexAlgorithms diffie-hellman-group1-sha1",
                "key exchange",
                "diffie-hellman-group1-sha1",
            ),
        ],
    )
    async def test_other_algorithms_that_are_not_shared_are_named(
        self, keys, settings, known, tmp_path, extra, kind, offered
    ):
        with Sshd(tmp_path / "sshd", keys=keys, extra=extra) as odd:
            known.write_text(odd.known_hosts_line())
            text = await refused(settings(ciphers=("aes256-ctr",)), address(odd), ConnectFailed)
        assert f"no {kind} algorithm is shared: it offers {offered};" in text

    async def test_a_host_key_of_another_type_than_the_known_one(
        self, server, settings, known, keys
    ):
        other = keys.make("ecdsa", kind="ecdsa")
        public = " ".join((keys.directory / f"{other.name}.pub").read_text().split()[:2])
        known.write_text(f"[{server.address}]:{server.port} {public}\n")
        text = await refused(settings(), address(server), ConnectFailed)
        assert "no host key algorithm is shared: it offers ssh-ed25519;" in text
        assert "known_hosts" in text


def _before(method, see):
    def wrapped(self, connection):
        see(connection)
        method(self, connection)

    return wrapped


class TestAgent:
    async def fails(self, keys, settings, known, tmp_path, wanted, **sshd):
        with Sshd(tmp_path / "sshd", keys=keys, **sshd) as odd:
            known.write_text(odd.known_hosts_line())
            text = await refused(settings(), address(odd), wanted)
            assert odd.address in text
            await eventually(lambda: not odd.sessions(), lambda: f"{odd.sessions()} to end")
        return text

    async def test_no_python(self, keys, settings, known, tmp_path):
        text = await self.fails(keys, settings, known, tmp_path, AgentMissing, python=None)
        assert "python3" in text
        assert "apt-get install" in text

    async def test_an_old_python(self, keys, settings, known, tmp_path):
        old = find_python("3.8")
        text = await self.fails(keys, settings, known, tmp_path, AgentTooOld, python=old)
        assert "3.8." in text
        assert "3.9" in text

    async def test_the_oldest_python_that_we_serve(self, keys, settings, known, tmp_path):
        with Sshd(tmp_path / "sshd", keys=keys, python=find_python("3.9")) as old:
            known.write_text(old.known_hosts_line())
            assert await reach(settings(), address(old)) == ""

    async def test_the_agent_starts_under_tcsh(self, keys, settings, known, tmp_path):
        tcsh = find("tcsh") or missing("tcsh (apt-get install tcsh)")
        home = tmp_path / "sshd" / "home"
        home.mkdir(parents=True)
        (home / ".tcshrc").write_text("echo 'A banner!'\nalias cd 'echo no'\n")
        with Sshd(tmp_path / "sshd", keys=keys, shell=tcsh) as odd:
            known.write_text(odd.known_hosts_line())
            assert await reach(settings(), address(odd)) == ""

    async def test_no_python_under_tcsh(self, keys, settings, known, tmp_path):
        tcsh = find("tcsh") or missing("tcsh (apt-get install tcsh)")
        text = await self.fails(
            keys, settings, known, tmp_path, AgentMissing, python=None, shell=tcsh
        )
        assert "there is no python3" in text

    @pytest.mark.parametrize(
        ("shell", "expected"),
        [
            ("nologin", "This account is currently not available"),
            ("false", "nothing was printed"),
        ],
    )
    async def test_a_login_shell_that_runs_no_command(
        self, keys, settings, known, tmp_path, shell, expected
    ):
        text = await self.fails(keys, settings, known, tmp_path, AgentFailed, shell=find(shell))
        assert expected in text
        assert "login shell" in text

    async def test_a_login_that_prompts_for_input_is_an_error(
        self, keys, settings, known, tmp_path
    ):
        extra = "ForceCommand echo 'Accept the terms of use [y/n]'; exec sleep 60"
        patient = lambda: settings(connect_timeout=10)  # it must be let in before that
        text = await self.fails(keys, patient, known, tmp_path, AgentFailed, extra=extra)
        assert "was let in" in text
        assert "Accept the terms of use" in text

    async def test_a_pinned_command_that_does_not_exist(self, keys, settings, known, tmp_path):
        command = "/opt/nowhere/replicator agent --root /srv"
        text = await self.fails(
            keys, settings, known, tmp_path, AgentFailed, forced_command=command
        )
        assert "/opt/nowhere/replicator: No such file or directory" in text
        assert "authorized_keys" in text

    async def test_a_shell_that_allows_no_login_is_an_error_with_its_output(
        self, keys, settings, known, tmp_path
    ):
        extra = "ForceCommand echo 'This account is currently not available.'; exit 1"
        text = await self.fails(keys, settings, known, tmp_path, AgentFailed, extra=extra)
        assert "exit status 1" in text
        assert "not available" in text, "what it printed is the only clue"

    async def test_a_login_script_that_eats_our_code(self, keys, settings, known, tmp_path):
        extra = 'ForceCommand cat >/dev/null & exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"'
        with Sshd(tmp_path / "sshd", keys=keys, extra=extra) as odd:
            known.write_text(odd.known_hosts_line())
            # In the background, cat reads /dev/null: this one works; below, it does not.
            assert await reach(settings(), address(odd)) == ""
        extra = 'ForceCommand head -c 100 >/dev/null; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"'
        text = await self.fails(keys, settings, known, tmp_path, AgentFailed, extra=extra)
        assert text

    async def test_an_agent_that_sends_nothing_is_an_error(self, keys, settings, known, tmp_path):
        with Sshd(tmp_path / "sshd", keys=keys, extra="ForceCommand sleep 60") as mute:
            known.write_text(mute.known_hosts_line())
            begun = time.monotonic()
            text = await refused(settings(connect_timeout=10.0), address(mute), AgentFailed)
            assert time.monotonic() - begun < 50, "it waited for the end of the command"
            assert f"{mute.address}:{mute.port}: {USER} was let in, but" in text

    async def test_a_little_output_before_the_agent_is_skipped(
        self, keys, settings, known, tmp_path
    ):
        with Sshd(tmp_path / "sshd", keys=keys, noise_bytes=10 << 10) as noisy:
            known.write_text(noisy.known_hosts_line())
            assert await reach(settings(), address(noisy)) == ""

    async def test_much_output_before_the_agent_is_an_error(self, keys, settings, known, tmp_path):
        text = await self.fails(keys, settings, known, tmp_path, AgentFailed, noise_bytes=100 << 10)
        assert "#####" in text
        assert "64 KiB" in text


async def test_a_refused_start_leaves_no_session(server, settings, known):
    known.write_text(server.known_hosts_line())
    for _ in range(3):
        await reach(settings(), address(server))
    await eventually(lambda: not server.sessions(), lambda: f"{server.sessions()} to end")


@contextlib.contextmanager
def talker(data, *, hold=False, forever=False):
    """A server that sends bytes to each client, and closes the connection (or keeps it open); yields its port."""
    with socket.create_server(("127.0.0.4", 0)) as server:
        over = threading.Event()

        def run():
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(0.2)
                    connection.sendall(data)
                    while forever and not over.is_set():
                        connection.sendall(data)
                    if hold:
                        over.wait(10)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            thread.join(10)


class TestMachinesThatKnownHostsDoesNotKnow:
    """Against a real sshd: which keys each policy accepts, and how a new machine at an old address is treated."""

    @staticmethod
    def connector(settings, known, mode, console=None):
        pins = Pins(known.parent / "host_keys")
        policy = HostKeyPolicy(str(known), mode=mode, pins=pins, console=console)
        return SSHConnector(settings(host_keys=mode), policy)

    async def reach(self, connector, where, identity):
        await (await connector.connect(where, identity)).close()

    async def test_accept_new(self, tmp_path, keys, settings, known):
        where = tmp_path / "frontend"
        with Sshd(where, keys=keys, address="127.0.3.1") as machine:
            connector = self.connector(settings, known, "accept-new")
            await self.reach(connector, address(machine), "i-1")
            await self.reach(connector, address(machine), "i-1")
            machine.stop()
            machine.new_host_key()
            machine.start()
            with pytest.raises(HostKeyRefused, match="the host key of i-1 has CHANGED"):
                await self.reach(connector, address(machine), "i-1")
            await self.reach(connector, address(machine), "i-2")

    async def test_console(self, tmp_path, keys, settings, known):
        with Sshd(tmp_path / "frontend", keys=keys, address="127.0.3.1") as machine:
            shown = []

            class Console:
                async def fingerprints(self, identity):
                    return shown if identity == "i-1" else ["SHA256:" + "x" * 43]

            connector = self.connector(settings, known, "console", Console())
            with pytest.raises(HostKeyRefused, match="no host key fingerprints yet"):
                await self.reach(connector, address(machine), "i-1")
            shown.append(machine.fingerprint())
            await self.reach(connector, address(machine), "i-1")
            with pytest.raises(HostKeyRefused, match="somebody else answers at this address"):
                await self.reach(connector, address(machine), "i-2")

    async def test_strict(self, tmp_path, keys, settings, known):
        with Sshd(tmp_path / "frontend", keys=keys, address="127.0.3.1") as machine:
            with pytest.raises(HostKeyRefused, match="is not in"):
                await self.reach(self.connector(settings, known, "strict"), address(machine), "i-1")
            assert not (known.parent / "host_keys").exists()
