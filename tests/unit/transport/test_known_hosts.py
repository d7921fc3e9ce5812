"""known_hosts: one parsed form for all connections, made anew for each change; a damaged line concerns its own hosts alone."""

import asyncssh
import pytest

from replicator.errors import HostKeyRefused
from replicator.transport import known_hosts
from replicator.transport.known_hosts import KnownHosts, Parsed

ONE, TWO = (
    " ".join(asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().split()[:2])
    for _ in range(2)
)
GOOD = f"web1 {ONE}\nweb2 {TWO}\n"
CUT = {
    "cut": ONE[:-9],
    "short": ONE[:30],
}  # the names of tests must not differ from run to run: pytest-xdist compares them
HALVES = ["web3", "web3 ssh-ed25519", "web3 {cut}", "@cert-auth", "@cert-authority * {short}", "|1|abc", "@"]  # fmt: skip


def trusted(parsed, host, port=22):
    return [" ".join(k.export_public_key().decode().split()[:2]) for k in parsed.match(host, "", port)[0]]  # fmt: skip


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("where", ["first", "last"])
def test_a_half_written_line_is_left_out_and_reported_and_no_other_is_lost(half, where):
    half = half.format(**CUT)
    parsed = Parsed(f"{half}\n{GOOD}" if where == "first" else f"{GOOD}{half}")
    assert (trusted(parsed, "web1"), trusted(parsed, "web2")) == ([ONE], [TWO])
    assert trusted(parsed, "web3") == []
    assert parsed.damaged == [1 if where == "first" else 3]


@pytest.mark.parametrize(
    ("half", "refused"),
    [
        ("@rev", ["web1", "web2"]),
        ("@revoked", ["web1", "web2"]),
        ("@revoked web", ["web1", "web2"]),
        ("@revoked web1 {cut}", ["web1"]),
        ("@revoked * {cut}", ["web1", "web2"]),
    ],
)
def test_a_revocation_that_cannot_be_understood_refuses_the_hosts_that_it_names(half, refused):
    parsed = Parsed(GOOD + half.format(**CUT))
    for host in ("web1", "web2"):
        if host in refused:
            with pytest.raises(HostKeyRefused, match=r"revokes a key .*\(line 3\)"):
                parsed.match(host, "", 22)
        else:
            assert trusted(parsed, host)


def test_the_file_is_parsed_once_for_each_change(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(known_hosts, "Parsed", lambda text: made.append(text) or Parsed(text))
    path = tmp_path / "known_hosts"
    path.write_text(GOOD)
    known = KnownHosts(str(path))
    first = known.read("web1")
    assert all(known.read("web1") is first for _ in range(1000))
    path.write_text(GOOD.replace("web1", "web9"))  # within the same moment, of the same size
    assert trusted(known.read("web9"), "web9") == [ONE]
    path.unlink()
    with pytest.raises(HostKeyRefused, match="No such file"):
        known.read("web1")
    assert len(made) == 2


def test_a_byte_order_mark_and_foreign_line_ends_are_no_part_of_a_name(tmp_path):
    path = tmp_path / "known_hosts"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert trusted(KnownHosts(str(path)).read("web1"), "web1") == [ONE]


def test_an_address_with_a_zone_is_found():
    parsed = Parsed(f"fe80::1%eth0 {ONE}\n[fe80::2%eth0]:2222 {TWO}\n")
    assert trusted(parsed, "fe80::1%eth0") == [ONE]
    assert trusted(parsed, "fe80::2%eth0", 2222) == [TWO]
