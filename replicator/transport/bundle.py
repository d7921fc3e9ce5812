"""The code that is streamed to a frontend, and the constant command that receives it.

The remote command is one small loader: it checks the interpreter, reads a line with length and SHA-256, reads exactly so
many bytes, verifies them, and runs them. They hold the agent's modules as text and an importer that serves them from memory;
nothing is written to the frontend's disk. What follows on the same channel is the protocol.
"""

from __future__ import annotations

import functools
import hashlib
import zlib
from importlib import resources
from importlib.resources.abc import Traversable

TOO_OLD = 97
"""Exit status of the loader on a Python before 3.9."""

DAMAGED = 98
"""Exit status of the loader when the code did not arrive whole."""

LOADER = f"""\
import sys
if sys.version_info < (3, 9):
    sys.stderr.write("%d.%d.%d" % sys.version_info[:3])
    sys.exit({TOO_OLD})
import hashlib, os, zlib
def take(n):
    b = b""
    while len(b) < n:
        d = os.read(0, n - len(b))
        if not d: sys.exit({DAMAGED})
        b += d
    return b
line = b""
while not line.endswith(bytes([10])): line += take(1)
n, _, s = line.partition(b" ")
if not n.isdigit() or len(n) > 9: sys.exit({DAMAGED})
code = take(int(n))
if not hashlib.sha256(code).hexdigest().encode() == s.strip(): sys.exit({DAMAGED})
exec(zlib.decompress(code))
"""

_ONE_LINE = 'exec("""' + LOADER.replace("\n", "~") + '""".replace("~", chr(10)))'

COMMAND = f"python3 -I -S -c '{_ONE_LINE}'"
"""For any login shell. Between single quotes, csh ends at a newline and replaces `!`, and fish interprets a backslash: it holds none of
them. csh of BSD reads words of up to 1,024 bytes."""

_IMPORTER = """
import linecache, sys
from importlib.machinery import ModuleSpec

class Streamed:
    def find_spec(self, name, path=None, target=None):
        if name in SOURCES:
            return ModuleSpec(name, self, is_package=SOURCES[name][0])
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        text, file = SOURCES[module.__name__][1], "<streamed %s>" % module.__name__
        linecache.cache[file] = (len(text), None, text.splitlines(True), file)
        exec(compile(text, file, "exec"), module.__dict__)

sys.meta_path.insert(0, Streamed())
try:
    from replicator.agent.main import serve
    sys.exit(serve(JAIL))
except Exception:
    import traceback
    traceback.print_exc()  # unlike the interpreter's own, before 3.13, it shows the lines that we have put there
    sys.exit(1)
"""

_WHOLE_ROOMS = ("agent", "files", "wire")
_SINGLE_FILES = ("__init__", "errors", "model", "delta/__init__", "delta/ops", "delta/patch")


def modules() -> dict[str, tuple[bool, str]]:
    """Return (is a package, source text) of every module that a frontend gets, by full name."""
    package = resources.files("replicator")
    found: dict[str, tuple[bool, str]] = {}
    for path in _SINGLE_FILES:
        _add(found, path, package.joinpath(f"{path}.py"))
    for room in _WHOLE_ROOMS:
        for file in sorted(package.joinpath(room).iterdir(), key=lambda f: f.name):
            if file.name.endswith(".py"):
                _add(found, f"{room}/{file.name[:-3]}", file)
    return found


def _add(found: dict[str, tuple[bool, str]], path: str, file: Traversable) -> None:
    is_package = path.endswith("__init__")
    name = f"replicator/{path}".removesuffix("/__init__").replace("/", ".")
    found[name] = (is_package, file.read_text(encoding="utf-8"))


@functools.cache
def agent_code(jail: str | None = None) -> bytes:
    """Return what is sent to the loader to run the agent: header line and compressed code.

    Args:
        jail: directory that the agent must not leave; None: it serves whatever trees it is asked for.
    """
    return pack(f"SOURCES = {modules()!r}\nJAIL = {jail!r}\n{_IMPORTER}")


def pack(source: str) -> bytes:
    """Return Python source in the form that the loader reads: `<length> <sha256>`, a newline, zlib data."""
    code = zlib.compress(source.encode(), 9)
    return b"%d %s\n%s" % (len(code), hashlib.sha256(code).hexdigest().encode(), code)
