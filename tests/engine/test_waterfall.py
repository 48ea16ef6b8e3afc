"""R20, R23: the table of the state machine, and the questions that choose the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.margin import Margin, margin_with
from engine.params import default_params
from engine.state import Subaccount, new_state
from engine.waterfall import (
    BANKRUPT,
    BOOK,
    FINDINGS,
    HEALTHY,
    STATES,
    TRANSITIONS,
    IllegalTransition,
    is_below_acmf,
    next_state,
)


def of(equity_usd6: int, maintenance_usd6: int, exposure_usd6: int) -> Margin:
    """Give a margin with these figures."""
    margin = margin_with(new_state(default_params()), Subaccount("1/0", (0, 1, 0, "")))
    return replace(
        margin,
        net_equity_usd6=equity_usd6,
        maintenance_margin_usd6=maintenance_usd6,
        exposure_usd6=exposure_usd6,
    )


def test_r20_every_state_is_reached_and_left() -> None:
    assert set(TRANSITIONS.values()) == set(STATES)
    assert {before for before, _ in TRANSITIONS} == set(STATES)
    assert {finding for _, finding in TRANSITIONS} == set(FINDINGS)


def test_r20_stages_never_go_back() -> None:
    """From every stage on, no way leads to an earlier one but through "healthy" or "bankrupt"."""
    order = ["book", "backstop", "adl"]
    for (before, _), after in TRANSITIONS.items():
        if before in order and after in order:
            assert order.index(before) < order.index(after)
        elif before in order:
            assert after in (HEALTHY, BANKRUPT)


def test_r20_there_is_no_other_way() -> None:
    for state in STATES:
        for finding in FINDINGS:
            if (state, finding) not in TRANSITIONS:
                with pytest.raises(IllegalTransition, match=f"{finding} in state {state}"):
                    next_state(state, finding)
    assert next_state(HEALTHY, "failed") == BOOK


@pytest.mark.parametrize(
    ("equity", "maintenance", "exposure", "below"),
    [
        # MMF 1.35%: the larger is MMF / 2.
        (68, 135, 10_000, False),
        (67, 135, 10_000, True),
        # MMF 12%: both are 6%; the edge is not below.
        (600, 1_200, 10_000, False),
        (599, 1_200, 10_000, True),
        # MMF 20%: the larger is MMF - 6% = 14%.
        (1_400, 2_000, 10_000, False),
        (1_399, 2_000, 10_000, True),
        (0, 1, 1, True),
        (-5, 135, 10_000, True),
        # Nothing is at risk any more.
        (0, 0, 0, False),
    ],
)
def test_r23_acmf_is_the_larger_of_both(equity: int, maintenance: int, exposure: int, below: bool) -> None:
    """R23: margin fraction < max(MMF / 2, MMF - 60,000 ppm), compared exactly."""
    assert is_below_acmf(new_state(default_params()), of(equity, maintenance, exposure)) is below


def test_r23_the_gap_is_a_parameter() -> None:
    state = new_state(replace(default_params(), acmf_gap_ppm=10_000))
    assert is_below_acmf(state, of(1_899, 2_000, 10_000))
    assert not is_below_acmf(state, of(1_900, 2_000, 10_000))
