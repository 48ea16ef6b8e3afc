"""pytest fixtures of the localnet (in the making)."""
