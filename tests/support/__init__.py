"""What tests are made of, and the machine they need."""

from pathlib import Path

PROJECT = Path(__file__).parents[2]
"""Where the project lies: what a child process must import from."""
