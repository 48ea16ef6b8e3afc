"""The invariants I1-I10 as checks over a state; a breach is our bug and stops the writer.

Rules: `check` recomputes everything from the subaccounts; `check_totals` reads running totals only, O(assets
+ markets), for every production batch. I4 holds after a tick and is asked separately; I7 and I8 are
properties of steps, not of a state, and are tested there.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.book import Order
from engine.params import MarketParams
from engine.pool import pool_cash_units
from engine.state import OPEN_STATUSES, State, lock_units
from engine.units import (
    E18,
    INSURANCE_FUND,
    MAX_UNITS,
    NETWORK_FEE_ASSET,
    ROUNDING,
    SETTLEMENT_ASSET,
    SETTLEMENT_POOL,
)

# Per subaccount: how many orders rest, what spot orders lock, [buy, sell] units per perpetual market.
_Expected = dict[str, tuple[int, dict[str, int], dict[str, list[int]]]]


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken invariant, with the figures."""

    invariant: str
    detail: str


def liabilities_units(state: State) -> dict[str, int]:
    """Give what is recorded as owed per asset: all cash (operator's too), pending withdrawals, held deposits.

    On-chain holdings = liabilities - network fees owed (SOL), see `expected_holdings_units`.
    """
    totals = state.totals
    return {
        asset: totals.cash_units[asset] + totals.pending_units[asset] + totals.held_units[asset]
        for asset in state.assets
    }


def expected_holdings_units(state: State) -> dict[str, int]:
    """Give what the chain must hold per asset: deposits - payouts - network fees (I1)."""
    expected = {asset: state.deposited_units[asset] - state.withdrawn_units[asset] for asset in state.assets}
    expected[NETWORK_FEE_ASSET] -= state.network_fees_paid_units
    return expected


def check_totals(state: State) -> list[Breach]:
    """Check I1, I2, I3, I5, I6 and I9 on running totals: O(assets + markets)."""
    breaches: list[Breach] = []
    owed = liabilities_units(state)
    owed[NETWORK_FEE_ASSET] -= state.network_fees_owed_units
    for asset, expected in expected_holdings_units(state).items():
        _equal(breaches, "I1", f"{asset}: liabilities", owed[asset], expected)
    for market, base_units in state.totals.base_units.items():
        _equal(breaches, "I2", f"{market}: sum of base", base_units, 0)
    pool_usd6 = state.subaccounts[SETTLEMENT_POOL].cash.get(SETTLEMENT_ASSET, 0)
    open_usd6 = sum(state.totals.quote_usd6.values()) + state.totals.unsettled_usd6
    _equal(breaches, "I3", "quote + unsettled", open_usd6, pool_usd6)
    for asset, units in state.subaccounts[INSURANCE_FUND].cash.items():
        _holds(breaches, "I5", units >= 0, f"insurance_fund has {units} {asset}")
    _check_pools(state, breaches)
    rounding = state.subaccounts[ROUNDING]
    held_usd6 = rounding.unsettled_usd6 + rounding.cash.get(SETTLEMENT_ASSET, 0)
    quote_usd6 = sum([position.quote_usd6 for position in rounding.positions.values()])
    open_positions = sum([len(holders) for holders in state.holders.values()])
    for name, amount_usd6 in (("unsettled and cash", held_usd6), ("quote", quote_usd6)):
        # A block trade leaves at most 1 usd6, a closed position less than 2, a funding payment less than 1;
        # the mark's value of every open position is rounded by less than 1.
        _holds(
            breaches,
            "I9",
            abs(amount_usd6) <= 2 * (state.rounding_postings + open_positions),
            f"rounding {name} {amount_usd6}: {state.rounding_postings} postings, {open_positions} positions",
        )
    _holds(breaches, "I1", state.network_fees_owed_units >= 0, "network fees owed are negative")
    return breaches


def _check_pools(state: State, breaches: list[Breach]) -> None:
    """Check I6: what a lending pool owns covers what it owes, and no more than roundings is left over."""
    for asset, pool in state.pools.items():
        owned = pool_cash_units(state, asset) * E18 + pool.borrowed_shares * pool.borrow_index_e18
        spare = owned - pool.lent_shares * pool.lend_index_e18
        # Each posting rounds at most one share of either kind and one unit; a lend index is rounded by less
        # than 10^-18 of a unit per share, and there are no more shares than a token has units.
        bound = pool.roundings * (pool.borrow_index_e18 + pool.lend_index_e18 + E18 + MAX_UNITS)
        _holds(breaches, "I6", 0 <= spare <= bound, f"{asset}: pool has {spare} e18 more than it owes")
        indices = (pool.borrow_index_e18, pool.lend_index_e18)
        _holds(breaches, "I6", min(indices) >= E18, f"{asset}: an index has fallen to {min(indices)}")
        _holds(breaches, "I6", min(pool.lent_shares, pool.borrowed_shares) >= 0, f"{asset}: negative shares")


def check_after_tick(state: State) -> list[Breach]:
    """Check I4, which holds from the end of a tick to the next command: Σ unsettled = pool cash, Σ quote =
    0 per market.
    """
    breaches: list[Breach] = []
    pool_usd6 = state.subaccounts[SETTLEMENT_POOL].cash.get(SETTLEMENT_ASSET, 0)
    _equal(breaches, "I4", "sum of unsettled", state.totals.unsettled_usd6, pool_usd6)
    for market, quote_usd6 in state.totals.quote_usd6.items():
        _equal(breaches, "I4", f"{market}: sum of quote", quote_usd6, 0)
    return breaches


def check(state: State) -> list[Breach]:
    """Check everything a state must satisfy, recomputed from its parts: O(all). Empty when it is sound."""
    breaches = check_totals(state)
    _check_balances(state, breaches)
    _check_shares(state, breaches)
    _check_set_aside(state, breaches)
    _check_books(state, breaches)
    _check_indices(state, breaches)
    return breaches


def _check_balances(state: State, breaches: list[Breach]) -> None:
    cash = dict.fromkeys(state.assets, 0)
    base, quote = dict.fromkeys(state.markets, 0), dict.fromkeys(state.markets, 0)
    unsettled_usd6 = 0
    for name, one in sorted(state.subaccounts.items()):
        unsettled_usd6 += one.unsettled_usd6
        for asset, units in one.cash.items():
            cash[asset] += units
            _holds(breaches, "I5", units > 0, f"{name} has {units} {asset}")
        for market, position in one.positions.items():
            base[market] += position.base_units
            quote[market] += position.quote_usd6
            _holds(breaches, "I2", not one.is_system or position.base_units == 0, f"{name} holds {market}")
    for asset in state.assets:
        _equal(breaches, "totals", f"cash {asset}", state.totals.cash_units[asset], cash[asset])
    for market in state.markets:
        _equal(breaches, "totals", f"base {market}", state.totals.base_units[market], base[market])
        _equal(breaches, "totals", f"quote {market}", state.totals.quote_usd6[market], quote[market])
    _equal(breaches, "totals", "unsettled", state.totals.unsettled_usd6, unsettled_usd6)
    debts_usd6 = -sum([state.subaccounts[name].unsettled_usd6 for name in state.debts])
    _equal(breaches, "totals", "debts", state.totals.debts_usd6, debts_usd6)


def _check_shares(state: State, breaches: list[Breach]) -> None:
    lent, borrowed = dict.fromkeys(state.assets, 0), dict.fromkeys(state.assets, 0)
    for name, one in sorted(state.subaccounts.items()):
        for held, sums in ((one.lent, lent), (one.borrowed, borrowed)):
            for asset, shares in held.items():
                sums[asset] += shares
                _holds(breaches, "I6", shares > 0, f"{name} has {shares} shares of {asset}")
        _holds(breaches, "indices", (name in state.borrowers) == bool(one.borrowed), f"borrower {name}")
        for asset in state.assets:
            is_idle = one.auto_lend and asset in one.cash
            _holds(breaches, "indices", (name in state.idle[asset]) == is_idle, f"idle {asset} of {name}")
    for asset, pool in state.pools.items():
        _equal(breaches, "totals", f"lent shares {asset}", pool.lent_shares, lent[asset])
        _equal(breaches, "totals", f"borrowed shares {asset}", pool.borrowed_shares, borrowed[asset])


def _check_set_aside(state: State, breaches: list[Breach]) -> None:
    pending, held = dict.fromkeys(state.assets, 0), dict.fromkeys(state.assets, 0)
    paid = dict.fromkeys(state.assets, 0)
    for name, withdrawal in state.withdrawals.items():
        _holds(breaches, "I10", withdrawal.units > 0, f"withdrawal {name} of {withdrawal.units}")
        if withdrawal.status in OPEN_STATUSES:
            pending[withdrawal.asset] += withdrawal.units
        elif withdrawal.status == "paid":
            paid[withdrawal.asset] += withdrawal.units
        is_queued = withdrawal.status == "queued"
        _holds(breaches, "I10", is_queued == (name in state.queued), f"withdrawal {name} {withdrawal.status}")
        of_owner = name in state.queued_of.get(withdrawal.subaccount, ())
        _holds(breaches, "indices", is_queued == of_owner, f"queue of {withdrawal.subaccount}: {name}")
    for one in state.held.values():
        held[one.asset] += one.units
    for asset in state.assets:
        _equal(breaches, "totals", f"pending {asset}", state.totals.pending_units[asset], pending[asset])
        _equal(breaches, "totals", f"held {asset}", state.totals.held_units[asset], held[asset])
        _equal(breaches, "I10", f"withdrawn {asset}", state.withdrawn_units[asset], paid[asset])


def _check_books(state: State, breaches: list[Breach]) -> None:
    """Check that no book is crossed, that locks are covered, what is derived from orders (R7, R12, R18)."""
    expected: _Expected = {name: (0, {}, {}) for name in state.subaccounts}
    for market, book in state.books.items():
        bid_e8, ask_e8 = book.best_bid_e8(), book.best_ask_e8()
        crossed = bid_e8 is not None and ask_e8 is not None and bid_e8 >= ask_e8
        _holds(breaches, "R12", not crossed, f"{market}: bid {bid_e8} meets ask {ask_e8}")
        orders = list(book.in_priority())
        _equal(breaches, "R12", f"{market}: orders in priority", len(orders), len(book.orders))
        _equal(breaches, "R12", f"{market}: owned", sum(map(len, book.by_owner.values())), len(orders))
        reducing = sum([order.reduce_only for order in orders])
        _equal(breaches, "R22", f"{market}: reduce-only orders", len(book.reduce_only), reducing)
        for side in (book.bids, book.asks):
            for key, level in side.levels.items():
                shown = sum([order.units for order in level.orders.values()])
                _equal(breaches, "R12", f"{market}: units at {key * side.sign}", level.units, shown)
        for order in orders:
            good = order.units > 0 and order.order_id <= book.last_order_id
            _holds(breaches, "R12", good, f"{market}: order {order.order_id} of {order.units}")
            _expect_order(state, state.markets[market], order, expected)
    for name, (count, locked, units) in expected.items():
        one = state.subaccounts[name]
        _equal(breaches, "R12", f"{name}: open orders", one.open_order_count, count)
        _holds(breaches, "R7", one.locked == locked, f"{name} locked {one.locked}, must be {locked}")
        kept = {market: [held.buy_units, held.sell_units] for market, held in one.open_orders.items()}
        _holds(breaches, "R18", kept == units, f"{name}: open units {kept}, must be {units}")
        for asset, held_units in locked.items():
            _holds(
                breaches, "R7", held_units <= one.cash.get(asset, 0), f"{name} locked {held_units} {asset}"
            )


def _expect_order(state: State, params: MarketParams, order: Order, expected: _Expected) -> None:
    """Add one resting order to what its owner must have: (orders, locked, open units)."""
    count, locked, units = expected[order.subaccount]
    expected[order.subaccount] = (count + 1, locked, units)
    if params.is_spot:
        asset = SETTLEMENT_ASSET if order.is_buy else params.asset
        locked[asset] = locked.get(asset, 0) + lock_units(state, params, order, order.units)
    elif not order.reduce_only:
        units.setdefault(params.symbol, [0, 0])[0 if order.is_buy else 1] += order.units


def _check_indices(state: State, breaches: list[Breach]) -> None:
    for name, one in sorted(state.subaccounts.items()):
        _holds(
            breaches,
            "indices",
            (name in state.unsettled_holders) == (one.unsettled_usd6 != 0),
            f"unsettled of {name}",
        )
        for market in state.markets:
            expected = market in one.positions and not one.is_system
            _holds(breaches, "indices", (name in state.holders[market]) == expected, f"{name} holds {market}")
        for market, position in one.positions.items():
            _holds(
                breaches,
                "indices",
                bool(position.base_units or position.quote_usd6),
                f"{name} empty {market}",
            )
    for name in state.debts:
        debtor = state.subaccounts[name]
        _holds(breaches, "I8", debtor.unsettled_usd6 < 0 and not debtor.positions, f"{name} is no debtor")


def _equal(breaches: list[Breach], invariant: str, what: str, found: int, expected: int) -> None:
    if found != expected:
        breaches.append(Breach(invariant, f"{what} is {found}, must be {expected}"))


def _holds(breaches: list[Breach], invariant: str, good: bool, detail: str) -> None:
    if not good:
        breaches.append(Breach(invariant, detail))
