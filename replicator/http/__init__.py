"""http: what a running daemon shows over HTTP, read-only: health, metrics, status and a page. Needs the extra `http`."""
