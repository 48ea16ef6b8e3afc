"""The engine's own exchange to play with: every command is checked against all invariants."""

from __future__ import annotations

import pytest

from engine import commands as cm
from tests.engine.conftest import SOL, USDC, Exchange


@pytest.fixture
def exchange() -> Exchange:
    """Give SOL at $150, two makers who lend nothing by themselves, attackers' subaccounts, a $5,000 fund.

    The makers 80/0 and 81/0 have $1,000,000 and 1,000 SOL each.
    """
    made = Exchange()
    made.prices(150)
    made.open("1/0", "1/1", "2/0", "2/1", "80/0", "81/0")
    for maker in ("80/0", "81/0"):
        made.deposit(maker, 1_000_000 * USDC)
        made.deposit(maker, 1_000 * SOL, "SOL")
        made.must(cm.SetLending, maker, 0, 0, 0)
    made.deposit("insurance_fund", 5_000 * USDC)
    return made
