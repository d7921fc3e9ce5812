"""Merge: comparing a listing with the catalog page by page finds the same differences as one comparison of all lines."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.plan import Comparison
from replicator.engine.frontend import merge as module
from replicator.engine.frontend.merge import Merge
from replicator.model import Listed, Stamp, is_below, key
from replicator.ports import Record
from tests.support import strategies as own

trees = st.dictionaries(own.paths, own.entries, max_size=15)


class Catalog:
    """Records in a list."""

    def __init__(self, tree):
        self.renaming = threading.Lock()
        self.records = sorted(
            (Record(p, e, Stamp(0, 0, 0, 0)) for p, e in tree.items()), key=lambda r: key(r.path)
        )

    def scan(self, after, until, limit):
        chosen = [
            r
            for r in self.records
            if (after is None or key(r.path) > key(after))
            and (until is None or key(r.path) <= key(until))
        ]
        return chosen[:limit]


def comparison():
    return Comparison(excluded=lambda path, kind: False)


@given(trees, trees, st.integers(1, 4), st.integers(1, 4), st.just(b"") | own.names)
def test_page_and_frame_sizes_do_not_change_the_differences(frontend, catalog, page, frame, below):
    frontend = {p: e for p, e in frontend.items() if is_below(p, below)}
    catalog = {p: e for p, e in catalog.items() if is_below(p, below)}
    lines = sorted(
        (Listed(p, e, 0, 0) for p, e in frontend.items()), key=lambda line: key(line.path)
    )
    everything = list(comparison().differences(lines, Catalog(catalog).records))

    old, module.PAGE = module.PAGE, page
    try:
        merge = Merge(Catalog(catalog), comparison(), below)
        found = []
        cuts = [lines[i : i + frame] for i in range(0, len(lines), frame)] or [[]]
        for index, cut in enumerate(cuts):
            for differences in merge.pages(cut, end=index == len(cuts) - 1):
                found += differences
    finally:
        module.PAGE = old

    assert found == everything
