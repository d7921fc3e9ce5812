"""The root of a FakeSource: whether it is there, and which parts of the source are untrusted."""

import os

from replicator.errors import SourceError
from replicator.model import ancestors
from replicator.ports import Identity
from tests.support.fakes.content import SourceContent


class FakeRoot(SourceContent):
    """The methods of ports.Source that are about the root and the mounts.

    Attributes:
        identity: identity of the directory that the root's path names.
        away: reason why the root is missing; empty if it exists.
        mounted: the mounts below the root.
        reasons: reasons why parts of the source are untrusted, by path.
    """

    def __init__(self):
        super().__init__()
        self.identity = Identity(1, 2)
        self.away = ""
        self.exposed = ""
        self.mounted = {}
        self.reasons = {}
        self._opened = self.identity  # None while the root is closed
        self._stopped = False

    def check_root(self):
        if self.away:
            reason = self.away
        elif self._opened is None:
            reason = self.reasons.get(b"") or "the source was closed"
        elif self._opened != self.identity:
            reason = "the source was replaced by another directory"
        else:
            return self.identity
        self._doubt_root(reason)
        raise SourceError(reason)

    def reopen(self):
        if self.away:
            self.set_doubt(self.away)
            raise SourceError(self.away)
        self._check_stopped()
        if self._opened != self.identity:
            self._doubt_root("the source is being compared with the catalog")
        self._opened = self.identity

    def stop(self):
        self._stopped = True

    def close(self):
        self._stopped = True
        self._opened = None

    def set_doubt(self, reason):
        self._doubt_root(reason)
        if reason:
            self._opened = None

    def _doubt_root(self, reason):
        self.reasons.pop(b"", None)
        if reason:
            self.reasons[b""] = reason

    def doubt(self, path):
        untrusted = (at for at in (b"", path, *ancestors(path)) if at in self.reasons)
        return next((self.reasons[at] for at in untrusted), "")

    def duplicate_root(self):
        self._check_open()
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def mounts(self):
        self._check_open()
        return dict(self.mounted)

    def forget_mounts(self):
        pass

    def set_mounts(self, accepted, reasons):
        root = {path: reason for path, reason in self.reasons.items() if not path}
        self.reasons = {**reasons, **root}

    def _check_stopped(self):
        if self._stopped:
            raise SourceError("the source was closed")

    def _check_open(self):
        self._check_stopped()
        if self._opened is None:
            raise SourceError(self.reasons.get(b"") or "the source was closed")
