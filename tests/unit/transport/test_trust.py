"""Host keys: known_hosts first, then the policy; a key that was accepted is stored by machine."""

from urllib.parse import quote

import asyncssh
import pytest

from replicator.errors import DiscoveryError, HostKeyRefused
from replicator.transport.pins import MAX_PINS, Pins
from replicator.transport.trust import ASK_AGAIN, HostKeyPolicy
from tests.support.fakes.console import FakeConsole

ONE, TWO = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
HOST, PORT = "10.0.0.1", 22


def public(key):
    return " ".join(key.export_public_key().decode().split()[:2])


@pytest.fixture
def known(tmp_path):
    path = tmp_path / "known_hosts"
    path.write_text("")
    return path


@pytest.fixture
def pins(tmp_path):
    return Pins(tmp_path / "host_keys")


async def test_strict_refuses_a_machine_that_is_not_in_known_hosts(known, pins):
    check = await HostKeyPolicy(str(known), pins=pins).host_key_check(HOST, PORT, "i-1")
    assert not check.accept_new(ONE)
    assert pins.keys("i-1") == []


async def test_accept_new_accepts_the_first_key_of_a_machine_and_no_other_later(known, pins):
    policy = HostKeyPolicy(str(known), mode="accept-new", pins=pins)
    assert (await policy.host_key_check(HOST, PORT, "i-1")).accept_new(ONE)

    again = await policy.host_key_check("10.0.0.99", 2222, "i-1")  # at whatever address
    trusted = again.matching("10.0.0.99", "", 2222)[0]
    assert [public(key) for key in trusted] == [public(ONE)]
    assert not again.accept_new(TWO)
    assert "CHANGED" in str(again.refusal("10.0.0.99", TWO.get_fingerprint()))


async def test_accept_new_accepts_another_machine_at_a_used_address(known, pins):
    policy = HostKeyPolicy(str(known), mode="accept-new", pins=pins)
    assert (await policy.host_key_check(HOST, PORT, "i-1")).accept_new(ONE)
    assert (await policy.host_key_check(HOST, PORT, "i-2")).accept_new(TWO)
    assert (pins.keys("i-1"), pins.keys("i-2")) == ([public(ONE)], [public(TWO)])


async def test_without_an_instance_id_the_address_is_the_name(known, pins):
    policy = HostKeyPolicy(str(known), mode="accept-new", pins=pins)
    assert (await policy.host_key_check(HOST, 2222, "")).accept_new(ONE)
    assert pins.keys("[10.0.0.1]:2222") == [public(ONE)]


@pytest.mark.parametrize("line", ["10.0.0.1 {}", "@cert-authority 10.0.0.* {}"])
async def test_an_entry_in_known_hosts_takes_precedence_over_every_policy(known, pins, line):
    known.write_text(line.format(public(TWO)) + "\n")
    check = await HostKeyPolicy(str(known), mode="accept-new", pins=pins).host_key_check(
        HOST, PORT, "i-1"
    )
    assert not check.accept_new(ONE)


async def test_console_accepts_only_a_key_that_was_printed(known, pins):
    console = FakeConsole([TWO.get_fingerprint(), ONE.get_fingerprint()])
    policy = HostKeyPolicy(str(known), mode="console", pins=pins, console=console)
    check = await policy.host_key_check(HOST, PORT, "i-1")
    other = asyncssh.generate_private_key("ssh-ed25519")
    assert not check.accept_new(other)
    assert "somebody else answers" in str(check.refusal(HOST, other.get_fingerprint()))
    assert check.accept_new(ONE)

    await policy.host_key_check(HOST, PORT, "i-1")
    assert console.asked == 1  # what is remembered needs no console


def console_policy(known, pins, console, now):
    """Return a policy that asks a console for 60 s; `now[0]` is the time."""
    return HostKeyPolicy(
        str(known),
        mode="console",
        pins=pins,
        console=console,
        console_timeout=60,
        clock=lambda: now[0],
    )


async def test_console_waits_for_the_fingerprints_with_a_limit(known, pins):
    now = [1000.0]
    console = FakeConsole([], [], [ONE.get_fingerprint()])
    policy = console_policy(known, pins, console, now)
    for seconds in (0, 30):
        with pytest.raises(HostKeyRefused, match=f"yet: asked for {seconds} of 60 s"):
            await policy.host_key_check(HOST, PORT, "i-1")
        now[0] += 30
    assert (await policy.host_key_check(HOST, PORT, "i-1")).accept_new(ONE)

    console = FakeConsole([])
    policy = console_policy(known, Pins(known.parent / "no"), console, now)
    with pytest.raises(HostKeyRefused):
        await policy.host_key_check(HOST, PORT, "i-1")
    now[0] += 61
    for _ in range(5):
        with pytest.raises(HostKeyRefused, match="showed no host key fingerprints in 60 s"):
            await policy.host_key_check(HOST, PORT, "i-1")
    assert console.asked == 1  # past the limit the API is asked rarely


async def test_a_key_that_the_console_shows_late_is_accepted(known, pins):
    now = [1000.0]
    console = FakeConsole([], [ONE.get_fingerprint()])
    policy = console_policy(known, pins, console, now)
    for _ in range(2):
        with pytest.raises(HostKeyRefused):
            await policy.host_key_check(HOST, PORT, "i-1")
        now[0] += 61
    now[0] += ASK_AGAIN  # meanwhile the operator has had cloud-init print the fingerprints
    assert (await policy.host_key_check(HOST, PORT, "i-1")).accept_new(ONE)


async def test_a_new_key_of_a_machine_is_accepted_after_its_line_was_removed(known, pins, tmp_path):
    now = [1000.0]
    console = FakeConsole([ONE.get_fingerprint()], [TWO.get_fingerprint()])
    policy = console_policy(known, pins, console, now)
    assert (await policy.host_key_check(HOST, PORT, "i-1")).accept_new(ONE)
    now[0] += 100_000
    refusing = await policy.host_key_check(HOST, PORT, "i-1")
    assert not refusing.accept_new(TWO)
    assert "remove its line from host_keys" in str(refusing.refusal(HOST, "x"))

    file = tmp_path / "host_keys"
    kept = [line for line in file.read_text().splitlines(True) if not line.startswith("i-1 ")]
    file.write_text("".join(kept))
    assert (await policy.host_key_check(HOST, PORT, "i-1")).accept_new(TWO)
    assert pins.keys("i-1") == [public(TWO)]


async def test_console_needs_to_know_which_machine_it_is(known, pins):
    policy = HostKeyPolicy(str(known), mode="console", pins=pins, console=FakeConsole([]))
    with pytest.raises(HostKeyRefused, match="its instance id is unknown"):
        await policy.host_key_check(HOST, PORT, "")


async def test_a_console_that_cannot_be_read_is_an_error(known, pins):
    console = FakeConsole(DiscoveryError("the IAM permission ec2:GetConsoleOutput is missing"))
    policy = HostKeyPolicy(str(known), mode="console", pins=pins, console=console)
    with pytest.raises(HostKeyRefused, match="ec2:GetConsoleOutput"):
        await policy.host_key_check(HOST, PORT, "i-1")


async def test_a_key_that_cannot_be_stored_is_refused(known, tmp_path):
    pins = Pins(tmp_path / "missing" / "host_keys")
    check = await HostKeyPolicy(str(known), mode="accept-new", pins=pins).host_key_check(
        HOST, PORT, "i-1"
    )
    with pytest.raises(HostKeyRefused, match="cannot be remembered"):
        check.accept_new(ONE)


async def test_pins_that_cannot_be_read_are_an_error_not_a_fresh_start(known, tmp_path):
    (tmp_path / "host_keys").write_bytes(b"\xff\xfe")
    policy = HostKeyPolicy(str(known), mode="accept-new", pins=Pins(tmp_path / "host_keys"))
    with pytest.raises(HostKeyRefused, match="cannot be read"):
        await policy.host_key_check(HOST, PORT, "i-1")


def test_pins_are_private_and_bounded(tmp_path, monkeypatch):
    pins = Pins(tmp_path / "host_keys", frozenset)
    monkeypatch.setattr("replicator.transport.pins.MAX_PINS", 3)
    for number in range(5):
        pins.add(f"i-{number}", f"ssh-ed25519 key{number}")
    assert [pins.keys(f"i-{n}") for n in (0, 1, 2)] == [[], [], ["ssh-ed25519 key2"]]
    assert (tmp_path / "host_keys").stat().st_mode & 0o777 == 0o600
    assert MAX_PINS > 1000


def test_a_member_is_never_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr("replicator.transport.pins.MAX_PINS", 3)
    pins = Pins(tmp_path / "host_keys", lambda: {"i-0", "vm 7"})
    for machine in ("i-0", "vm 7", *(f"i-{number}" for number in range(1, 9))):
        pins.add(machine, f"ssh-ed25519 key-of-{quote(machine)}")
    again = Pins(tmp_path / "host_keys")
    assert again.keys("i-0") == ["ssh-ed25519 key-of-i-0"]
    assert again.keys("vm 7") == ["ssh-ed25519 key-of-vm%207"]
    assert again.keys("i-8") == ["ssh-ed25519 key-of-i-8"]
    assert again.keys("i-7") == []


@pytest.mark.parametrize("kept", [0, 1, 30, 0.5, -1, -2, -6, -7, -8])
async def test_a_file_that_was_emptied_or_cut_off_is_an_error_and_no_fresh_start(
    known, pins, tmp_path, kept
):
    for number in range(3):
        pins.add(f"i-{number}", public(ONE))
    file = tmp_path / "host_keys"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * kept) if isinstance(kept, float) else kept])
    policy = HostKeyPolicy(str(known), mode="accept-new", pins=pins)
    for machine in ("i-1", "i-9"):
        with pytest.raises(HostKeyRefused, match="host_keys is damaged"):
            await policy.host_key_check(HOST, PORT, machine)
    file.write_bytes(whole)
    assert pins.keys("i-1") == [public(ONE)]


def test_a_file_of_a_release_before_is_understood(pins, tmp_path):
    (tmp_path / "host_keys").write_text(f"i-1 {public(ONE)}\n")
    pins.add("i-2", public(TWO))
    assert (pins.keys("i-1"), pins.keys("i-2")) == ([public(ONE)], [public(TWO)])


@pytest.mark.parametrize(
    "machine", ["vm 7", "wéb", "a\nother ssh-ed25519 x", "\ud800", "other%20", "[fd00::1]:22"]
)
def test_a_machine_may_have_any_name(pins, machine):
    pins.add(machine, public(ONE))
    pins.add("other", public(TWO))
    assert pins.keys(machine) == [public(ONE)]
    assert pins.keys("other") == [public(TWO)]


async def test_a_certificate_in_known_hosts_is_no_key(known, pins):
    certificate = ONE.generate_host_certificate(TWO, "id", principals=[HOST])
    known.write_text(f"{HOST} {certificate.export_certificate().decode()}\n")
    policy = HostKeyPolicy(str(known), pins=pins)
    check = await policy.host_key_check(HOST, PORT, "i-1")
    assert check.matching(HOST, "", PORT) == ([], [], [])
    assert check.damaged == "line 1"
