"""telemetry: how the daemon tells what it is doing."""
