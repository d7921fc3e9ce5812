"""The commands that an operator sends to the daemon: status, bootstrap, verify, wait, resume."""
