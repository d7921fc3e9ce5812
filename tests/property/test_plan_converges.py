"""Applying the result of a comparison to a frontend makes it equal to the catalog, in any stretches."""

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.pending import PendingKind
from replicator.core.plan import Comparison
from replicator.model import FILE, Listed, Stamp, key
from replicator.ports import Record
from tests.support import strategies as own

trees = st.dictionaries(own.paths, own.entries, max_size=12)


@given(trees, trees, st.integers(1, 5))
def test_plan_applied_to_the_listing_gives_the_catalog(frontend, catalog, stretch):
    # Some paths on both sides, so that the quick check is exercised.
    frontend = {**frontend, **{p: e for i, (p, e) in enumerate(catalog.items()) if i % 2}}
    lines = sorted(
        (Listed(p, e, 0, 0) for p, e in frontend.items()), key=lambda line: key(line.path)
    )
    stamp = Stamp(0, 0, 0, 0)
    known = sorted((Record(p, e, stamp) for p, e in catalog.items()), key=lambda r: key(r.path))
    comparison = Comparison(excluded=lambda path, kind: False)

    result = dict(frontend)
    while lines or known:
        some, lines = lines[:stretch], lines[stretch:]
        edge = key(some[-1].path) if lines else None
        here = [r for r in known if edge is None or key(r.path) <= edge]
        known = known[len(here) :]
        for path, kind, *_ in comparison.differences(some, here):
            if path not in catalog:
                del result[path]
            elif kind is PendingKind.ATTRIBUTES:
                result[path] = result[path]._replace(mode=catalog[path].mode)
            else:
                result[path] = catalog[path]

    def without_digest(tree):
        return {p: e._replace(digest=b"") if e.kind == FILE else e for p, e in tree.items()}

    assert without_digest(result) == without_digest(catalog)
