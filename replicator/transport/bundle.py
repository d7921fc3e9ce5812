"""The agent code that is streamed to a frontend, and the constant command that receives it.

The remote command is a small loader: it checks the Python version, reads a line with length and SHA-256, reads as many bytes,
verifies and executes them. They contain the sources of the agent's modules, and an importer that loads them from memory; nothing is
written to the frontend's disk. After the code, the protocol begins on the same channel.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import zlib
from importlib import resources
from importlib.resources.abc import Traversable

TOO_OLD = 97
"""Exit status of the loader on a Python before 3.9."""

DAMAGED = 98
"""Exit status of the loader if the code is incomplete or its SHA-256 is wrong."""

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
"""The remote command, for any login shell. It contains no newline, `!` or backslash, because between single quotes csh ends at a newline
and replaces `!`, and fish interprets a backslash. It is shorter than 1,024 bytes, the longest word that BSD csh reads."""

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
    sys.exit(serve(PIN_ROOT))
except Exception:
    import traceback
    traceback.print_exc()  # unlike the interpreter's own, before 3.13, it shows the lines that we have put there
    sys.exit(1)
"""

_WHOLE_PACKAGES = ("agent", "agent/restore", "files", "wire")
_SINGLE_FILES = (
    "__init__",
    "errors",
    "model",
    "delta/__init__",
    "delta/ops",
    "delta/patch",
    "delta/sums",
)


def modules() -> dict[str, tuple[bool, str]]:
    """Return (is a package, source text) of every streamed module, by full name."""
    package = resources.files("replicator")
    found: dict[str, tuple[bool, str]] = {}
    for path in _SINGLE_FILES:
        _add(found, path, package.joinpath(f"{path}.py"))
    for name in _WHOLE_PACKAGES:
        for file in sorted(package.joinpath(name).iterdir(), key=lambda f: f.name):
            if file.name.endswith(".py"):
                _add(found, f"{name}/{file.name[:-3]}", file)
    return found


def _add(found: dict[str, tuple[bool, str]], path: str, file: Traversable) -> None:
    is_package = path.endswith("__init__")
    name = f"replicator/{path}".removesuffix("/__init__").replace("/", ".")
    found[name] = (is_package, without_docstrings(file.read_text(encoding="utf-8")))


def without_docstrings(source: str) -> str:
    """Return Python source in which docstrings are empty: a third less to send. All other lines stay as they are, for tracebacks."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
            continue
        first, last = node.lineno - 1, node.end_lineno or 0
        alone = not lines[first][: node.col_offset].strip()
        if alone and isinstance(node.value.value, str) and lines[last - 1].endswith(('"', "'")):
            lines[first:last] = [" " * node.col_offset + '""'] + [""] * (last - first - 1)
    return "\n".join(lines) + "\n"


@functools.cache
def agent_code(pin_root: str | None = None) -> bytes:
    """Return the header line and compressed code of the agent, to be sent to the loader.

    Args:
        pin_root: directory that the agent must not leave; None: any.
    """
    return pack(f"SOURCES = {modules()!r}\nPIN_ROOT = {pin_root!r}\n{_IMPORTER}")


def pack(source: str) -> bytes:
    """Return Python source in the loader's format: `<length> <sha256>`, a newline, zlib-compressed data."""
    code = zlib.compress(source.encode(), 9)
    return b"%d %s\n%s" % (len(code), hashlib.sha256(code).hexdigest().encode(), code)
