"""control: how a command line asks a running daemon. One JSON object a line over a Unix socket of mode 0600."""
