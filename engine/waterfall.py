"""The states of a liquidation and the only ways between them, as data (R20).

Theory of operation. A subaccount is healthy until it fails: net equity no longer above maintenance margin, or
account value below zero. From then on it takes one step per `step_ns`:

                    failed
    healthy ------------------------> book        its orders are canceled, then small steps on the book (R22)
       ^                               | below_acmf | no_progress
       |                               v
       |<--- recovered | closed --- backstop      providers take what they can (R23)
       |                               | backstop_exhausted
       |                               v
       |<--- recovered | closed ------ adl        netting, then auto-deleveraging (R24)
       |
       |                 ruined (from book, backstop or adl: nothing is left but a debt, R27)
       |<--- debt_ended --- bankrupt

It can recover or be closed out of every stage; it never goes back to an earlier one. `closed` is recovered
with nothing left to lose. Being bankrupt is a valid state, not an error: a deposit, the fund or the write-off
ends it.

Owns: the table, and the questions that decide which way is taken. They are pure; engine/liquidation.py acts.
"""

from __future__ import annotations

from types import MappingProxyType

from engine.margin import Margin, is_recovered
from engine.stages import ADL, BACKSTOP, BOOK
from engine.state import Liquidation, State, Subaccount
from engine.units import PPM

HEALTHY = "healthy"
BANKRUPT = "bankrupt"
STATES = (HEALTHY, BOOK, BACKSTOP, ADL, BANKRUPT)

FAILED = "failed"
BELOW_ACMF = "below_acmf"
NO_PROGRESS = "no_progress"
BACKSTOP_EXHAUSTED = "backstop_exhausted"
RECOVERED = "recovered"
CLOSED = "closed"
RUINED = "bankrupt"
DEBT_ENDED = "debt_ended"
FINDINGS = (
    FAILED,
    BELOW_ACMF,
    NO_PROGRESS,
    BACKSTOP_EXHAUSTED,
    RECOVERED,
    CLOSED,
    RUINED,
    DEBT_ENDED,
)

TRANSITIONS = MappingProxyType(
    {
        (HEALTHY, FAILED): BOOK,
        (BOOK, BELOW_ACMF): BACKSTOP,
        (BOOK, NO_PROGRESS): BACKSTOP,
        (BACKSTOP, BACKSTOP_EXHAUSTED): ADL,
        **{(stage, RECOVERED): HEALTHY for stage in (BOOK, BACKSTOP, ADL)},
        **{(stage, CLOSED): HEALTHY for stage in (BOOK, BACKSTOP, ADL)},
        **{(stage, RUINED): BANKRUPT for stage in (BOOK, BACKSTOP, ADL)},
        (BANKRUPT, DEBT_ENDED): HEALTHY,
    }
)


class IllegalTransition(RuntimeError):
    """The engine tried a way that the table does not have: our bug, never the customer's."""


def next_state(present: str, finding: str) -> str:
    """Give the state that a finding leads to; raises IllegalTransition when there is no such way."""
    following = TRANSITIONS.get((present, finding))
    if following is None:
        raise IllegalTransition(f"{finding} in state {present}")
    return following


def state_of(state: State, one: Subaccount) -> str:
    """Name the state of a subaccount."""
    liquidation = state.liquidations.get(one.id)
    if liquidation is not None:
        return liquidation.stage
    return BANKRUPT if one.id in state.debts else HEALTHY


def has_nothing_to_close(one: Subaccount) -> bool:
    """Tell whether no base and no borrow is left."""
    return not one.borrowed and not any(position.base_units for position in one.positions.values())


def finding_of_recovery(state: State, one: Subaccount, margin: Margin) -> str:
    """Find whether a liquidation is over: "closed", "recovered" or ""."""
    if not is_recovered(state, margin):
        return ""
    return CLOSED if has_nothing_to_close(one) else RECOVERED


def finding_on_the_book(state: State, liquidation: Liquidation, margin: Margin) -> str:
    """Find whether the book is not enough (R23): "below_acmf", "no_progress" or ""."""
    if is_below_acmf(state, margin):
        return BELOW_ACMF
    return NO_PROGRESS if liquidation.idle_steps >= state.params.stage1_patience else ""


def is_below_acmf(state: State, margin: Margin) -> bool:
    """Tell whether margin fraction < max(MMF / 2, MMF - acmf_gap), by cross-multiplication (R23).

    Both fractions are of the subaccount's exposure: 2 x net equity < maintenance margin, or net equity x 10^6
    < maintenance margin x 10^6 - gap x exposure.
    """
    equity_usd6, maintenance_usd6 = margin.net_equity_usd6, margin.maintenance_margin_usd6
    gap = state.params.acmf_gap_ppm * margin.exposure_usd6
    return 2 * equity_usd6 < maintenance_usd6 or equity_usd6 * PPM < maintenance_usd6 * PPM - gap
