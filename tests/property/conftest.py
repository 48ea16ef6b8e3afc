"""Hypothesis profiles of this folder.

`ci` is the default: derandomized, so a run says the same thing on every machine, and without shrinking, which
takes minutes for a long list of commands. `shrink` is the same with shrinking, to look into a failure; `long`
searches with fresh randomness. Choose by `MAKEWHOLE_HYPOTHESIS=long python -m pytest tests/property`.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

SLOW_TO_DRAW = [HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "shrink", derandomize=True, deadline=None, max_examples=40, suppress_health_check=SLOW_TO_DRAW
)
settings.register_profile("ci", settings.get_profile("shrink"), phases=(Phase.explicit, Phase.generate))

settings.register_profile("long", deadline=None, max_examples=3_000, suppress_health_check=SLOW_TO_DRAW)
settings.load_profile(os.environ.get("MAKEWHOLE_HYPOTHESIS", "ci"))
