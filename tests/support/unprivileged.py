"""Run Python code as somebody whom file modes bind, also where the tests run as root."""

import os
import subprocess
import sys

from tests.support import PROJECT

NOBODY = 65534
# Dropped after the imports: the interpreter itself may lie where nobody else can read.
DROP = f"import os\nif os.geteuid() == 0:\n    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"


def run_unprivileged(imports, code, directory):
    """Run `imports`, then `code` with few rights, with `directory` as working directory; return what it printed."""
    if os.geteuid() == 0:
        os.chown(directory, NOBODY, NOBODY)
    source = f"import sys; sys.path.insert(0, {str(PROJECT)!r})\n{imports}\n{DROP}{code}"
    command = [sys.executable, "-c", source]
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
