"""The base: keeps a copy of the trees in an object store, from which new frontends restore.

    catalog ──► publication ──► packs, manifest, pointer ──► object store ◄── frontends (presigned URLs from `offers`)
                     └─ index: where the contents are             ▲
                                                         prune ───┘

`publisher` runs everything: in one thread, so that a publication and a removal of garbage never overlap.
"""
