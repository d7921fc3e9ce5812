"""Run Python code as a user for whom file modes are enforced, even if the tests run as root."""

import os
import subprocess
import sys

from tests.support import PROJECT

NOBODY = 65534
# Privileges are dropped after the imports, because this user may not be able to read the interpreter's files.
DROP = f"import os\nif os.geteuid() == 0:\n    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"


def run_unprivileged(imports, code, directory):
    """Run `imports` as this user, then `code` as NOBODY, with `directory` as working directory; return the output."""
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
    source = f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n{imports}\n{DROP}{code}"
    command = [sys.executable, "-c", source]
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
