"""Put user-data/, the unit and the IAM policy into template.yaml, which must stand by itself. `--check` only says whether they are."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
TEMPLATE = HERE / "template.yaml"
GROUP = "NAME-OF-THE-GROUP"
BUCKET = "NAME-OF-THE-BUCKET"
NO_BUCKET = '!If [HasBase, !Ref BaseBucket, "no-bucket-is-configured"]'
BLOCK = re.compile(r"(?P<head>(?P<indent> *)# BEGIN (?P<name>\S+)\n).*?(?P<tail> *# END\n)", re.DOTALL)  # fmt: skip


def main() -> None:
    """Write the template, or compare."""
    text = TEMPLATE.read_text(encoding="utf-8")
    made = BLOCK.sub(_filled, text)
    if "--check" in sys.argv:
        sys.exit("run `python deploy/aws/embed.py`: template.yaml is not made from these files" if made != text else 0)  # fmt: skip
    TEMPLATE.write_text(made, encoding="utf-8")


def _filled(block: re.Match[str]) -> str:
    name, indent = block["name"], block["indent"]
    body = policy() if name == "iam-policy.json" else literal(script(name))
    lines = [indent + line if line else "" for line in body]
    return block["head"] + "\n".join(lines) + "\n" + block["tail"]


def literal(text: str) -> list[str]:
    """Return an element of a YAML list."""
    return ["- |", *("  " + line if line else "" for line in text.splitlines())]


def script(name: str) -> str:
    """Return a script as it is run; that of the backend writes the unit first."""
    text = (HERE / "user-data" / name).read_text(encoding="utf-8").removeprefix("#!/bin/bash\n")
    if name != "backend.sh":
        return text
    unit = (HERE.parent / "replicator.service").read_text(encoding="utf-8").splitlines()
    lines = [line for line in unit if line and not line.startswith("#")]
    return "\n".join(["cat >/etc/systemd/system/replicator.service <<'UNIT'", *lines, "UNIT", text])


def policy() -> list[str]:
    """Return the policy document, as JSON, which is YAML: with the names of the stack's group and bucket."""
    text = (HERE.parents[1] / "docs/iam-policy.json").read_text(encoding="utf-8")
    lines = ["PolicyDocument:"]
    for line in json.dumps(json.loads(text), indent=2).splitlines():
        if GROUP in line:
            line = re.sub(r'("[^"]*NAME-OF-THE-GROUP)"', r'!Sub \1"', line)
            line = line.replace(GROUP, "${AWS::StackName}-frontends")
        if BUCKET in line:
            line = re.sub(
                r'("[^"]*NAME-OF-THE-BUCKET[^"]*")', rf"!Sub [\1, {{ Bucket: {NO_BUCKET} }}]", line
            )
            line = line.replace(BUCKET, "${Bucket}")
        lines.append("  " + line)
    return lines


if __name__ == "__main__":
    main()
