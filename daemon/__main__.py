"""`python -m daemon` is `makewhole`."""

from __future__ import annotations

from daemon.cli import main

main()
