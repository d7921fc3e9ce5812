"""A wheel contains the presets and the marker of typed packages (PEP 561)."""

import subprocess
import sys
import zipfile

import pytest

from replicator import presets
from tests.support import PROJECT


def test_an_installed_wheel_lists_and_shows_every_preset(tmp_path):
    wheel = pytest.importorskip("hatchling.builders.wheel")
    sdist = pytest.importorskip("hatchling.builders.sdist")
    packed = next(sdist.SdistBuilder(str(PROJECT)).build(directory=str(tmp_path / "dist")))
    # `python -m build` makes the wheel of this.
    subprocess.run(["tar", "-xzf", packed, "-C", tmp_path], check=True)
    (unpacked,) = tmp_path.glob("replicator-*")
    made = next(wheel.WheelBuilder(str(unpacked)).build(directory=str(tmp_path / "dist")))
    site = tmp_path / "site"
    with zipfile.ZipFile(made) as archive:
        archive.extractall(site)

    def replicator(*arguments):
        program = f"import sys; sys.path.insert(0, {str(site)!r}); from replicator.cli import main; main()"
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path).stdout  # fmt: skip

    assert [line.split()[0] for line in replicator("preset", "list").splitlines()] == list(
        presets.names()
    )
    assert replicator("preset", "show", "wordpress", "--format", "nginx") == presets.render(
        presets.load("wordpress").filled({}), "nginx", name="wordpress", source="/"
    )
    assert (site / "replicator/presets/cms/wordpress.toml").is_file()
    assert (site / "replicator/py.typed").is_file()
