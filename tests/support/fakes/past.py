"""Earlier versions of a FakeCatalog's files; see catalog.history."""

from replicator.model import FILE


class PastVersions:
    """Digests of the versions that were replaced, moved or removed."""

    def __init__(self):
        self._digests = {}  # (path, size, mtime) to digest; an empty digest stands for several

    def remember(self, record):
        """Note the version of a record that is about to be replaced, moved or removed; None if there is none."""
        if record is not None and record.entry.kind == FILE and record.entry.digest:
            version = (record.path, record.entry.size, record.entry.mtime_ns)
            if self._digests.setdefault(version, record.entry.digest) != record.entry.digest:
                self._digests[version] = b""

    def replaced(self, known, record):
        """Note the version that a record replaces, if its mtime was set explicitly."""
        if (
            known is None
            or known.entry[:1] + known.entry[2:4] == record.entry[:1] + record.entry[2:4]
        ):
            return
        changed = known.stamp.ctime_ns
        if changed == -1 or abs(changed - known.entry.mtime_ns) > 10**9:
            self.remember(known)

    def marked(self, record):
        """Return the record, marked as ambiguous if another content had the same size and mtime."""
        version = (record.path, record.entry.size, record.entry.mtime_ns)
        was = self._digests.get(version, record.entry.digest)
        clashes = record.entry.kind == FILE and record.entry.digest not in (b"", was)
        return record._replace(ambiguous=record.ambiguous or clashes)
