"""Recognise errors that mean that this process was refused memory, threads or file descriptors, and say how to raise the limit."""

from __future__ import annotations

import errno

_MEMORY = (
    "there is not enough memory: raise the limit (MemoryMax= of the unit, ulimit -v) or add memory"
)
_THREADS = "no thread can be started: raise the limit of tasks (TasksMax= of the unit, ulimit -u) or of memory"
_BY_ERRNO = {
    errno.ENOMEM: _MEMORY,
    errno.EMFILE: "Too many open files: raise the limit of open files (LimitNOFILE= of the unit, ulimit -n)",
    errno.ENFILE: "Too many open files in system: raise the kernel's limit (sysctl fs.file-max)",
}
_LIBRARIES = ("failed to map segment", "cannot allocate memory")
"""Texts of an ImportError when the dynamic linker gets no memory, or no descriptor."""


def shortage(error: BaseException | None) -> str:
    """Return a sentence about what this process lacks, if that caused an error; empty if it has another cause."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if said := _said(error):
            return said
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return ""


def _said(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return _MEMORY
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return _THREADS
    if isinstance(error, ImportError) and any(text in str(error) for text in _LIBRARIES):
        return _MEMORY
    if isinstance(error, OSError):
        return _BY_ERRNO.get(error.errno or 0, "")
    return ""
