"""The routes of the control API: every one stands in the operator's handbook, and none is made up there."""

from __future__ import annotations

import re
from pathlib import Path
from unittest.mock import MagicMock

from daemon.api.server import routes

ROOT = Path(__file__).parents[2]


def test_the_handbook_lists_every_route_and_no_other() -> None:
    text = (ROOT / "docs" / "OPERATING.md").read_text()
    listed = set(re.findall(r"^\| `(GET|POST) (/v1/[a-z/-]+)", text, re.M))
    served = {(one.method, one.path) for one in routes(MagicMock())}
    assert listed == served


def test_no_route_is_there_twice() -> None:
    served = [(one.method, one.path) for one in routes(MagicMock())]
    assert len(served) == len(set(served)) > 40
