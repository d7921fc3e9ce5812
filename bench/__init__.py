"""Benchmarks of replicator and comparable programs, measured in the same run. Start with `python -m bench list`."""
