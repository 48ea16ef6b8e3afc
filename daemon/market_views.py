"""Markets, positions, pools and liquidations as the API shows them: pure functions from the state.

Rules: as `daemon.views`: evaluated between two batches, so an answer is one consistent picture; nothing here
changes the state. Must not know: HTTP, the database.
"""

from __future__ import annotations

from dataclasses import asdict

from daemon.api import market_bodies as mb
from engine.adl import AdlRank, adl_ranks
from engine.backstop import provider_capacities
from engine.borrowing import max_borrow_units
from engine.fixed import notional_down_usd6
from engine.funding import expected_funding_rate_e9
from engine.liquidation import liquidation_status
from engine.margin import margin_of, outstanding_negative_equity_usd6, position_value_usd6
from engine.markets import (
    OPEN,
    average_entry_price_e8,
    best_ask_e8,
    best_bid_e8,
    depth,
    has_stale_price,
    market_state,
    mid_price_e8,
    open_orders_of,
)
from engine.pool import (
    borrow_rate_ppm,
    free_units,
    is_throttled,
    lend_rate_ppm,
    lent_units,
    owed_units,
    pool_cash_units,
    pool_lent_units,
    pool_owed_units,
    redeemable_units,
    utilization_ppm,
)
from engine.stages import stage_shares
from engine.state import State
from engine.units import INSURANCE_FUND
from engine.waterfall import state_of
from engine.zero_price import bankruptcy_price_e8, liquidation_price_e8, position_maintenance_usd6


def market_view(state: State, market: str, held_long_units: int) -> mb.MarketBody:
    """Show one market with its open interest; raises KeyError for an unknown one."""
    params = state.markets[market]
    index, mark = state.index_prices.get(params.asset), state.mark_prices.get(market)
    settings = {name: value for name, value in asdict(params).items() if name not in _SHOWN_APART}
    return mb.MarketBody(
        market=market,
        asset=params.asset,
        kind=params.kind,
        decimals=state.assets[params.asset].decimals,
        tick_e8=params.tick_e8,
        lot_units=params.lot_units,
        state=market_state(state, market),
        chosen_state=state.market_states.get(market, OPEN),
        is_stale=has_stale_price(state, params),
        index_price_e8=None if index is None else index.price_e8,
        index_time_ns=None if index is None else index.time_ns,
        mark_price_e8=None if mark is None else mark.price_e8,
        best_bid_e8=best_bid_e8(state, market),
        best_ask_e8=best_ask_e8(state, market),
        mid_price_e8=mid_price_e8(state, market),
        expected_funding_rate_e9=None if params.is_spot else expected_funding_rate_e9(state, market),
        open_interest_units=None if params.is_spot else held_long_units,
        open_orders=len(state.books[market].orders),
        params=settings,
    )


_SHOWN_APART = ("symbol", "asset", "kind", "tick_e8", "lot_units")


def depth_view(state: State, market: str, levels: int) -> mb.DepthBody:
    """Show the best levels of a book."""
    found = depth(state, market, levels)
    return mb.DepthBody(
        market,
        state.last_time_ns,
        [mb.LevelBody(price, units) for price, units in found.bids],
        [mb.LevelBody(price, units) for price, units in found.asks],
    )


def orders_view(state: State, subaccount: str, market: str | None) -> list[mb.OrderBody]:
    """List a subaccount's resting orders, oldest first in each market."""
    return [
        mb.OrderBody(
            market=name,
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            side="buy" if order.is_buy else "sell",
            price_e8=order.price_e8,
            base_units=order.units,
            reduce_only=order.reduce_only,
        )
        for name, order in open_orders_of(state, subaccount)
        if market in (None, name)
    ]


def ranks_view(state: State, market: str) -> tuple[int, tuple[AdlRank, ...]]:
    """Rank all holders of a market (R24), with the time of it."""
    return state.last_time_ns, adl_ranks(state, market)


def rank_body(rank: AdlRank) -> mb.AdlRankBody:
    """Show one rank."""
    return mb.AdlRankBody(
        subaccount=rank.subaccount,
        side=_side(1 if rank.is_long else -1),
        rank=rank.rank,
        group=rank.group,
        base_units=rank.base_units,
        reducible_units=rank.reducible_units,
    )


def positions_view(state: State, subaccount: str) -> mb.PositionsBody | None:
    """Show a subaccount's positions without their ADL ranks, None if it is not open."""
    one = state.subaccounts.get(subaccount)
    if one is None:
        return None
    return mb.PositionsBody(
        subaccount=subaccount,
        state=state_of(state, one),
        margin=asdict(margin_of(state, subaccount)),
        positions=[
            _position(state, subaccount, market)
            for market, position in sorted(one.positions.items())
            if position.base_units
        ],
    )


def _position(state: State, subaccount: str, market: str) -> mb.PositionDetailBody:
    position = state.subaccounts[subaccount].positions[market]
    base_units = position.base_units
    entry_e8 = average_entry_price_e8(state, subaccount, market)
    decimals = state.assets[state.markets[market].asset].decimals
    value_usd6 = position_value_usd6(state, market, base_units)
    return mb.PositionDetailBody(
        market=market,
        side=_side(base_units),
        base_units=base_units,
        quote_usd6=position.quote_usd6,
        mark_price_e8=state.mark_prices[market].price_e8,
        average_entry_price_e8=entry_e8,
        value_usd6=value_usd6,
        unrealized_pnl_usd6=value_usd6 + position.quote_usd6,
        pnl_since_entry_usd6=value_usd6 - notional_down_usd6(base_units, entry_e8, decimals),
        maintenance_margin_usd6=position_maintenance_usd6(state, market, base_units),
        liquidation_price_e8=liquidation_price_e8(state, subaccount, market) or None,
        zero_price_e8=bankruptcy_price_e8(state, subaccount, market) or None,
        adl=None,
    )


def _side(base_units: int) -> str:
    return "long" if base_units > 0 else "short"


def pools_view(state: State) -> list[mb.PoolBody]:
    """Show the lending pool of every asset."""
    return [
        mb.PoolBody(
            asset=asset,
            decimals=params.decimals,
            lent_units=pool_lent_units(state, asset),
            owed_units=pool_owed_units(state, asset),
            cash_units=pool_cash_units(state, asset),
            utilization_ppm=utilization_ppm(state, asset),
            borrow_rate_ppm=borrow_rate_ppm(state, asset),
            lend_rate_ppm=lend_rate_ppm(state, asset),
            is_throttled=is_throttled(state, asset),
            params=asdict(params.lending),
        )
        for asset, params in state.assets.items()
    ]


def lending_view(state: State, subaccount: str) -> mb.LendingBody | None:
    """Show a subaccount's lending and borrowing, None if it is not open."""
    one = state.subaccounts.get(subaccount)
    if one is None:
        return None
    return mb.LendingBody(
        subaccount=subaccount,
        auto_lend=one.auto_lend,
        auto_borrow=one.auto_borrow,
        auto_repay=one.auto_repay,
        assets=[
            mb.LendingAssetBody(
                asset=asset,
                free_units=free_units(one, asset),
                lent_units=lent_units(state, one, asset),
                redeemable_units=redeemable_units(state, one, asset),
                owed_units=owed_units(state, one, asset),
                max_borrow_units=max_borrow_units(state, subaccount, asset),
            )
            for asset in state.assets
        ],
    )


def liquidations_view(state: State, now_ns: int, most: int) -> mb.LiquidationsBody:
    """Show the public numbers of the waterfall (R25), and the first `most` subaccounts in it."""
    fund = state.subaccounts[INSURANCE_FUND]
    return mb.LiquidationsBody(
        time_ns=now_ns,
        stages=[asdict(share) for share in stage_shares(state, now_ns)],
        in_liquidation=len(state.liquidations),
        liquidations=[_in_liquidation(state, name) for name in list(state.liquidations)[:most]],
        debtors=len(state.debts),
        outstanding_negative_equity_usd6=sum(
            outstanding_negative_equity_usd6(state, name) for name in state.debts
        ),
        insurance_fund=mb.FundBody(
            cash_units=dict(sorted(fund.cash.items())),
            lent_units={asset: lent_units(state, fund, asset) for asset in sorted(fund.lent)},
            owed_units={asset: owed_units(state, fund, asset) for asset in sorted(fund.borrowed)},
            unsettled_usd6=fund.unsettled_usd6,
            short_usd6=state.fund_short_usd6,
            short_since_ns=state.fund_short_since_ns or None,
        ),
    )


def _in_liquidation(state: State, subaccount: str) -> mb.InLiquidationBody:
    found = liquidation_status(state, subaccount)
    return mb.InLiquidationBody(
        subaccount=subaccount,
        stage=found.state,
        since_ns=found.since_ns,
        next_step_ns=found.next_step_ns,
        net_equity_usd6=found.margin.net_equity_usd6,
        account_value_usd6=found.margin.account_value_usd6,
        maintenance_margin_usd6=found.margin.maintenance_margin_usd6,
    )


def capacities_view(state: State, now_ns: int) -> list[mb.CapacityBody]:
    """Show what every backstop provider takes, and how much of it is left (R23)."""
    return [mb.CapacityBody(**asdict(one)) for one in provider_capacities(state, now_ns)]
