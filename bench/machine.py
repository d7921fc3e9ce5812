"""Where a figure comes from."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from bench import peers


def describe() -> dict[str, Any]:
    """Return what somebody needs to know to compare."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "revision": _revision(),
        "peers": {name: peers.version(name) for name in peers.COMMANDS},
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())  # fmt: skip


def _revision() -> str:
    here = Path(__file__).parent
    done = subprocess.run(
        ["git", "-C", here, "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()
