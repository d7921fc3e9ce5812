"""One frontend: its connection, what it is sent, and how it is compared."""
