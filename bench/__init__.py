"""bench: replicator beside its peers, in one run, on your machine. `python -m bench list` begins."""
