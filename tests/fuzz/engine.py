"""One target under atheris, for as long as libFuzzer is told: `python -m tests.fuzz.engine TARGET [its flags and directories]`."""

import random
import sys

import atheris

with atheris.instrument_imports(include=["replicator"]):
    from tests.fuzz.targets import TARGETS

PLAIN = 4
"""One mutation in so many is libFuzzer's own, which knows what was compared with what."""


def main():
    """Run until the time is over or something breaks; does not return."""
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
