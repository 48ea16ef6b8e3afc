"""Hypothesis profiles of this folder.

`ci` is the default: derandomized, so a run says the same thing on every machine. `long` searches with fresh
randomness: `MAKEWHOLE_HYPOTHESIS=long python -m pytest tests/property`.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SLOW_TO_DRAW = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=60, suppress_health_check=SLOW_TO_DRAW
)
settings.register_profile("long", deadline=None, max_examples=3_000, suppress_health_check=SLOW_TO_DRAW)
settings.load_profile(os.environ.get("MAKEWHOLE_HYPOTHESIS", "ci"))
