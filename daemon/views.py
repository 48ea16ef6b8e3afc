"""The state as the API shows it: pure functions from `engine.state.State` to bodies.

Rules: evaluated between two batches by `Runner.ask`, so an answer is one consistent picture; nothing
here changes the state. Must not know: HTTP, the database.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from daemon.api.bodies import PositionBody, SubaccountBody
from engine.deposits import preview_deposit
from engine.invariants import check, check_totals
from engine.margin import margin_of, outstanding_negative_equity_usd6
from engine.pool import lent_units, owed_units
from engine.snapshot import state_hash
from engine.state import State
from engine.units import INSURANCE_FUND
from engine.waterfall import state_of
from engine.withdrawals import withdrawable_units


def subaccount_view(state: State, subaccount: str, address: str | None) -> SubaccountBody | None:
    """Show one subaccount, None if it is not open."""
    found = state.subaccounts.get(subaccount)
    if found is None:
        return None
    positions = [
        PositionBody(market, position.base_units, position.quote_usd6, _price(state.mark_prices.get(market)))
        for market, position in sorted(found.positions.items())
    ]
    return SubaccountBody(
        subaccount=subaccount,
        address=address,
        state=state_of(state, found),
        on_debt=found.on_debt,
        cash_units=dict(sorted(found.cash.items())),
        locked_units=dict(sorted(found.locked.items())),
        lent_units={asset: lent_units(state, found, asset) for asset in sorted(found.lent)},
        owed_units={asset: owed_units(state, found, asset) for asset in sorted(found.borrowed)},
        positions=positions,
        open_orders=found.open_order_count,
        unsettled_usd6=found.unsettled_usd6,
        outstanding_negative_equity_usd6=outstanding_negative_equity_usd6(state, subaccount),
        margin=asdict(margin_of(state, subaccount)),
        withdrawable_units={asset: withdrawable_units(state, subaccount, asset) for asset in state.assets},
        held_deposits=[asdict(held) for held in state.held.values() if held.subaccount == subaccount],
    )


def preview_view(state: State, subaccount: str, asset: str, units: int) -> dict[str, Any]:
    """Show what a deposit would do now (R29)."""
    return asdict(preview_deposit(state, subaccount, asset, units))


def health_view(state: State, *, full: bool) -> dict[str, Any]:
    """Show the whole exchange in a few numbers; `full` adds the state hash and every invariant."""
    fund = state.subaccounts[INSURANCE_FUND]
    customers = [one for one in state.subaccounts.values() if not one.is_system]
    return {
        "state_hash": state_hash(state) if full else "",
        "breaches": [str(breach) for breach in (check(state) if full else check_totals(state))],
        "time_ns": state.last_time_ns,
        "insurance_fund_units": dict(sorted(fund.cash.items())),
        "outstanding_negative_equity_usd6": sum(
            outstanding_negative_equity_usd6(state, subaccount) for subaccount in state.debts
        ),
        "debtors": len(state.debts),
        "claims_usd6": sum(max(0, one.unsettled_usd6) for one in customers),
        "network_fees_owed_units": state.network_fees_owed_units,
        "next_settlement_ns": state.next_settlement_ns(),
    }


def _price(price: Any) -> int | None:
    return None if price is None else int(price.price_e8)
