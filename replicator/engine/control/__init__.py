"""What people ask the daemon: status, commands, verification."""
