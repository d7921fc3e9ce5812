"""`check` reports that it runs with other rights than the daemon."""

import os

import pytest

from replicator.doctor.host import state_findings, user_findings


def test_the_owner_of_the_state_directory_gets_no_finding(tmp_path):
    assert not list(user_findings(tmp_path))
    assert not list(user_findings(tmp_path / "not made yet"))


@pytest.mark.parametrize(("owner", "name"), [(1, "daemon"), (4_000_000, "4000000")])
def test_another_owner_of_the_state_directory_is_reported_with_the_command_to_run(
    tmp_path, owner, name
):
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    os.chown(tmp_path, owner, -1)
    (found,) = user_findings(tmp_path)
    assert found.level == "warn"
    assert f"runs as root, but the daemon runs as {name}" in found.what
    assert f"--uid={name} " in found.fix
    assert "CAP_DAC_READ_SEARCH" in found.fix
    assert found.fix.partition("  (")[0].endswith("/bin/replicator check")
    assert not list(state_findings(tmp_path)), "no advice that gives it to the wrong user"
