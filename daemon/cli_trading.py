"""Commands of `makewhole` about markets, orders and prices.

Owns: their arguments. Sizes are decimal amounts of the market's asset, prices decimal dollars; both are
exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from daemon.cli_common import (
    DEFAULT_CONFIG,
    ConfigOption,
    IdOption,
    JsonOption,
    get,
    load,
    market_assets,
    market_of,
    new_id,
    post,
    show,
    units_of,
)

if TYPE_CHECKING:
    from daemon.config import Config

order_app = typer.Typer(help="Place, cancel and list orders.", no_args_is_help=True)
market_app = typer.Typer(help="Prices, depth, trades, ADL ranks; states.", no_args_is_help=True)

MarketArgument = Annotated[str, typer.Argument(help="Such as SOL-PERP or SOL/USDC.")]
SubaccountArgument = Annotated[str, typer.Argument(help="Such as 7/0.")]


# -- orders --


@order_app.command("place")
def order_place(
    subaccount: SubaccountArgument,
    market: MarketArgument,
    side: Annotated[str, typer.Argument(help="buy or sell.")],
    size: Annotated[str, typer.Argument(help="How much of the asset, such as 1.5.")],
    price: Annotated[str | None, typer.Option(help="The worst price, such as 150.25.")] = None,
    kind: Annotated[
        str, typer.Option(help="limit, post_only, ioc, fok or market; without it: limit with a price.")
    ] = "",
    reduce_only: Annotated[bool, typer.Option("--reduce-only", help="Never enlarge the position.")] = False,
    client_order_id: Annotated[str, typer.Option(help="Your own name for it while it rests.")] = "",
    request_id: IdOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Place an order; says what was filled, at what price, and what rests."""
    from daemon import cli_market_tables as tables

    units = _size(load(config), market, size)
    body: dict[str, Any] = {
        "id": new_id(request_id),
        "subaccount": subaccount,
        "market": market,
        "side": side,
        "kind": kind or ("market" if price is None else "limit"),
        "base_units": units,
        "price": price,
        "reduce_only": reduce_only,
        "client_order_id": client_order_id,
    }
    answer = post(config, "orders", **body)
    show({"id": body["id"], **answer}, as_json, lambda told: tables.order_done(told, market_assets(config)))


def _size(config: Config, market: str, size: str) -> int:
    """Return base units of a size; refuses here, in the words of the caller, what is not a whole lot."""
    from chain.addresses import format_amount
    from daemon.errors import DaemonError

    params = market_of(config, market)
    units = units_of(config, params.asset, size)
    if units % params.lot_units:
        lot = format_amount(params.lot_units, config.token(params.asset).decimals)
        raise DaemonError(
            f"{size} {params.asset} is no multiple of the lot of {market}, {lot} {params.asset}"
        )
    return units


@order_app.command("cancel")
def order_cancel(
    subaccount: SubaccountArgument,
    market: MarketArgument,
    order_id: Annotated[int | None, typer.Argument(help="The number that placing it gave.")] = None,
    client_order_id: Annotated[str, typer.Option(help="Instead of the number.")] = "",
    request_id: IdOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Cancel a resting order."""
    from daemon import cli_market_tables as tables

    answer = post(
        config,
        "orders/cancel",
        id=new_id(request_id),
        subaccount=subaccount,
        market=market,
        order_id=order_id,
        client_order_id=client_order_id,
    )
    show(answer, as_json, lambda told: tables.cancelled(told, market_assets(config)))


@order_app.command("cancel-all")
def order_cancel_all(
    subaccount: SubaccountArgument,
    market: Annotated[str, typer.Option(help="Only in this market.")] = "",
    request_id: IdOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Cancel every resting order of a subaccount."""
    from daemon import cli_market_tables as tables

    body = {"id": new_id(request_id), "subaccount": subaccount, "market": market}
    answer = post(config, "orders/cancel-all", **body)
    show(answer, as_json, lambda told: tables.cancelled(told, market_assets(config)))


@order_app.command("list")
def order_list(
    subaccount: SubaccountArgument,
    market: Annotated[str | None, typer.Option(help="Only in this market.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """List the resting orders of a subaccount."""
    from daemon import cli_market_tables as tables

    answer = get(config, "orders", subaccount=subaccount, market=market)
    show(answer, as_json, lambda told: tables.orders(told, market_assets(config)))


def positions(
    subaccount: SubaccountArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Show positions: entry, profit, where liquidation begins, ADL rank."""
    from daemon import cli_market_tables as tables

    answer = get(config, "positions", subaccount=subaccount)
    show(answer, as_json, lambda told: tables.positions(told, market_assets(config)))


# -- markets --


@market_app.command("list")
def market_list(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """List every market with its prices and its state."""
    from daemon import cli_market_tables as tables

    show(get(config, "markets"), as_json, tables.markets)


@market_app.command("show")
def market_show(
    market: MarketArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Show one market with its parameters."""
    from daemon import cli_market_tables as tables

    show(get(config, "market", market=market), as_json, tables.market)


@market_app.command("depth")
def market_depth(
    market: MarketArgument,
    levels: Annotated[int, typer.Option(min=1, max=500, help="How many prices of each side.")] = 20,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show what rests on the book, by price."""
    from daemon import cli_market_tables as tables

    answer = get(config, "depth", market=market, levels=str(levels))
    show(answer, as_json, lambda told: tables.depth(told, market_assets(config)))


@market_app.command("trades")
def market_trades(
    market: Annotated[str | None, typer.Argument(help="All markets without one.")] = None,
    subaccount: Annotated[str | None, typer.Option(help="Only its trades.")] = None,
    last: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 20,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """List the newest trades, oldest first: fills, block trades, liquidations."""
    from daemon import cli_market_tables as tables

    answer = get(config, "trades", market=market, subaccount=subaccount, last=str(last))
    show(answer, as_json, lambda told: tables.trades(told, market_assets(config)))


@market_app.command("adl")
def market_adl(
    market: MarketArgument,
    subaccount: Annotated[str | None, typer.Option(help="Only its rank.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show who would be reduced first if it came to auto-deleveraging."""
    from daemon import cli_market_tables as tables

    answer = get(config, "adl", market=market, subaccount=subaccount)
    show(answer, as_json, lambda told: tables.adl(told, market_assets(config)))


@market_app.command("state")
def market_set_state(
    market: MarketArgument,
    state: Annotated[str, typer.Argument(help="open, post_only, reduce_only or closed.")],
    request_id: IdOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Set what a market lets in; resting orders stay."""
    from daemon import cli_tables

    answer = post(config, "markets/state", id=new_id(request_id), market=market, state=state)
    show(answer, as_json, cli_tables.done)


# -- prices --


def prices(
    named: Annotated[list[str], typer.Argument(help="NAME=PRICE; an asset's index or a market's mark.")],
    request_id: IdOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Set index and mark prices as given: SOL=150.25 SOL-PERP=150.3."""
    from daemon import cli_tables

    given = [_named_price(one, "SOL=150.25") for one in named]
    markets = market_assets(config)
    answer = post(
        config,
        "prices",
        id=new_id(request_id),
        index={name: price for name, price in given if name not in markets},
        mark={name: price for name, price in given if name in markets},
    )
    show(answer, as_json, cli_tables.done)


def quotes(
    asset: Annotated[str, typer.Argument(help="Such as SOL.")],
    named: Annotated[list[str], typer.Argument(help="FEED/SOURCE=PRICE, as many as there are.")],
    request_id: IdOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Bring what sources say an asset is worth now; index and marks follow."""
    from daemon import cli_market_tables as tables
    from daemon.errors import DaemonError

    told = []
    for one in named:
        name, price = _named_price(one, "exchange-a/spot=150.25")
        feed, slash, source = name.partition("/")
        if not (feed and slash and source):
            raise DaemonError(f"{one!r}: a quote is FEED/SOURCE=PRICE, such as exchange-a/spot=150.25")
        told.append({"feed": feed, "source": source, "price": price})
    show(post(config, "quotes", id=new_id(request_id), asset=asset, quotes=told), as_json, tables.quotes)


def _named_price(text: str, example: str) -> tuple[str, str]:
    from daemon.errors import DaemonError

    name, _, price = text.rpartition("=")
    if not name or not price:
        raise DaemonError(f"{text!r}: write NAME=PRICE, such as {example}")
    return name, price


GROUPS: Final = {"order": order_app, "market": market_app}
COMMANDS: Final = (positions, prices, quotes)
