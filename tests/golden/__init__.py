"""Golden journals: whole histories whose every outcome and hash is fixed."""
