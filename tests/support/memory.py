"""How much a thing without locks or descriptors remembers."""

import pickle


def remembered(thing):
    """Return the size in bytes of all that a thing holds, directly or not."""
    return len(pickle.dumps(thing))
