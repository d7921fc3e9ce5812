"""Fakes, fixtures and helpers that tests share."""

from pathlib import Path

PROJECT = Path(__file__).parents[2]
"""Root directory of the project; child processes import the packages from there."""
