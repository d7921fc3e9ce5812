"""Where the engine keeps images, containers and volumes: a tmpfs, because an overlay of / cannot be stored below /."""

import os
import subprocess
from pathlib import Path

STORE = Path(os.environ.get("NAMESPACES_STORE", "/run/replicator-namespaces"))


def run(*command, **more):
    """Run a command.

    Raises:
        SystemExit: if it fails, with its output.
    """
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True, errors="replace", **more)  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))[:300]}: {done.stdout[-3000:]}{done.stderr[-3000:]}")  # fmt: skip
    return done.stdout


def mount():
    """Mount the tmpfs, unless it is mounted already."""
    STORE.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.path.ismount(STORE):
        run("mount", "-t", "tmpfs", "-o", "mode=0700,size=4g", "replicator-namespaces", STORE)
    (STORE / "layers").mkdir(exist_ok=True)


def unmount():
    """Remove everything. All containers must have ended."""
    if os.path.ismount(STORE):
        run("umount", STORE)
        STORE.rmdir()
