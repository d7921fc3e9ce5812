"""Describe the machine and the revision that were measured."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from bench import peers


def describe() -> dict[str, Any]:
    """Return the facts about this machine that are needed to compare figures."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "revision": revision(),
        "peers": {name: peers.version(name) for name in peers.PROGRAMS},
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())  # fmt: skip


def revision() -> str:
    """Return replicator's revision; inside a container $BENCH_REVISION gives it."""
    if given := os.environ.get("BENCH_REVISION"):
        return given
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    if not shutil.which("git"):
        return ""
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
