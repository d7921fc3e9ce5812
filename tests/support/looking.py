"""Look at a directory while it changes: what goes meanwhile is not there, and temporaries are nobody's business."""

import os
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path

from replicator.model import is_temporary


def below(directory, pattern="*"):
    """Return all paths below a directory whose name matches; `Path.rglob` fails when a directory goes while it lists."""
    found = []
    for above, directories, files in os.walk(directory):
        found += [Path(above, name) for name in directories + files if fnmatch(name, pattern)]
    return found


def temporaries_below(directory):
    """Return our temporaries below a directory."""
    return [path for path in below(directory, ".*") if is_temporary(os.fsencode(path.name))]


def texts(directory):
    """Return what the files below a directory hold, by relative path; temporaries are left out."""
    found = {}
    for path in below(directory):
        with suppress(FileNotFoundError):
            if path.is_file() and not is_temporary(os.fsencode(path.name)):
                found[str(path.relative_to(directory))] = path.read_text()
    return found
