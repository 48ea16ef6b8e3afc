"""The daemon: the one place with clock, files, environment and logging; joins engine, chain and store."""
