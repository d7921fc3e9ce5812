"""Run one target with atheris: `python -m tests.fuzz.engine TARGET [libFuzzer's flags and corpus directories]`."""

import random
import sys

import atheris

with atheris.instrument_imports(include=["replicator"]):
    from tests.fuzz.targets import TARGETS

PLAIN = 4
"""One in this many mutations is libFuzzer's own, which uses the operands of comparisons that it has seen."""


def main():
    """Run until the time is over or the target fails. Does not return."""
    target = TARGETS[sys.argv.pop(1)]

    def near(data, most, seed):
        rng = random.Random(seed)
        if not rng.randrange(PLAIN):
            return atheris.Mutate(data, most)
        return target.near(data, rng)[:most]

    atheris.Setup(sys.argv, target, custom_mutator=near)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
