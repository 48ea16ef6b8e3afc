"""The local control API: HTTP with JSON bodies on a Unix socket in the data directory."""
