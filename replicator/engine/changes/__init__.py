"""Changes as encoded frames, and the reading of their content: what `ingest` and `frontend` share."""
