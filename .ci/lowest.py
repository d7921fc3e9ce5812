"""Print a constraint for each dependency that holds it at its lowest allowed version."""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
extras = project.get("optional-dependencies", {})
for wanted in [*project["dependencies"], *(one for extra in extras.values() for one in extra)]:
    print(wanted.split(",")[0].replace(">=", "=="))
