"""In-memory implementations of the ports. Each passes the contract tests of what it stands for (tests/contract)."""
