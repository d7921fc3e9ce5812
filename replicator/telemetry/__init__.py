"""Logging and the notifications to the service manager."""
