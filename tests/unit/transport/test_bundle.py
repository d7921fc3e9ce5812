"""What is streamed to a frontend: complete, small, valid where it must run, and refused when it is damaged."""

import ast
import os
import subprocess
import sys
import zlib

import pytest

from replicator.transport import bundle
from replicator.wire.frames import MARKER
from tests.support.sshd import find_python


def load(code, python=sys.executable, extra=b""):
    """Run the loader as a frontend does, with `code` on its standard input."""
    return subprocess.run(
        ["sh", "-c", bundle.COMMAND.replace("python3", python, 1)],
        input=code + extra,
        check=False,
        capture_output=True,
        timeout=20,
    )


def test_the_command_survives_any_login_shell():
    start, quoted, end = bundle.COMMAND.split("'")
    assert start == "python3 -I -S -c "
    assert not set("\n!\\`$") & set(quoted), (
        "csh and fish interpret these between single quotes, or may"
    )
    assert end == ""
    assert len(bundle.COMMAND) < 1000
    ast.parse(quoted, feature_version=(3, 4))
    ast.parse(bundle.LOADER, feature_version=(3, 4))


def test_every_module_is_valid_on_the_oldest_python():
    modules = bundle.modules()
    assert {"replicator", "replicator.agent.server", "replicator.wire.frames"} <= modules.keys()
    assert modules["replicator.agent"][0]
    assert not modules["replicator.agent.main"][0]
    for name, (_, text) in modules.items():
        ast.parse(text, name, feature_version=(3, 9))


def test_it_holds_all_that_its_modules_import_and_nothing_of_the_backend():
    modules = bundle.modules()
    for name, (_, text) in modules.items():
        for node in ast.walk(ast.parse(text)):
            found = []
            if isinstance(node, ast.ImportFrom):
                found = [node.module]
            elif isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            for module in found:
                if module.partition(".")[0] == "replicator":
                    assert module in modules, (name, module)
                else:
                    assert module.partition(".")[0] in sys.stdlib_module_names, (name, module)


def test_it_is_small_and_the_same_every_time():
    code = bundle.agent_code()
    assert len(code) < 64 << 10, "more than a pipe takes at once would make starting slower"
    assert code is bundle.agent_code()
    head, _, body = code.partition(b"\n")
    assert int(head.split()[0]) == len(body)
    assert b"/" + b"root" not in zlib.decompress(body), "no path of this machine"


@pytest.mark.parametrize("version", ["3.9", "here"])
def test_it_starts(version):
    python = os.path.realpath(sys.executable) if version == "here" else find_python(version)
    result = load(bundle.agent_code(), python)
    assert result.stdout.startswith(MARKER)
    assert result.stderr == b""
    assert result.returncode == 0


def test_an_old_python_reports_its_version():
    result = load(bundle.agent_code(), find_python("3.8"))
    assert result.returncode == bundle.TOO_OLD
    assert result.stderr.startswith(b"3.8.")
    assert result.stdout == b""


def damaged():
    code = bundle.pack("print('ran')")
    flipped = bytearray(code)
    flipped[-3] ^= 1
    return {
        "flipped": bytes(flipped),
        "cut": code[:-1],
        "cut in the line": code[:5],
        "nothing": b"",
        "noise before": b"x\n" + code,
        "no line": code.partition(b"\n")[2] + b"\n",
        "no length": b"-1 " + code,
        "endless length": b"9" * 5000 + b" x\n",
        "no sum": code[:2] + b"\n",
    }


@pytest.mark.parametrize("how", damaged())
def test_damaged_code_never_runs(how):
    result = load(damaged()[how])
    assert b"ran" not in result.stdout
    assert result.returncode == bundle.DAMAGED


def test_what_follows_the_code_is_left_for_it():
    result = load(bundle.pack("import os; print(os.read(0, 100))"), extra=b"the rest")
    assert result.stdout == b"b'the rest'\n"


def test_a_traceback_of_streamed_code_shows_its_lines():
    code = bundle.pack(
        f"SOURCES = {{'replicator': (True, ''), 'replicator.agent': (True, ''),"
        f" 'replicator.agent.main': (False, 'def serve(jail):\\n    raise ValueError(jail) # here')}}\n"
        f"PIN_ROOT = 'j'\n{bundle._IMPORTER}"
    )
    result = load(code)
    assert result.returncode == 1
    assert b"<streamed replicator.agent.main>" in result.stderr
    assert b"raise ValueError(jail) # here" in result.stderr
