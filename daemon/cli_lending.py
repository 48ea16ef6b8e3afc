"""Commands of `makewhole` about lending, borrowing, backstop providers and liquidations.

Owns: their arguments. Amounts are decimal amounts of an asset, capacities decimal dollars.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from daemon.cli_common import (
    DEFAULT_CONFIG,
    ConfigOption,
    IdOption,
    JsonOption,
    get,
    load,
    new_id,
    post,
    show,
    units_of,
)

backstop_app = typer.Typer(help="Providers that take positions over.", no_args_is_help=True)

SubaccountArgument = Annotated[str, typer.Argument(help="Such as 7/0.")]
AssetArgument = Annotated[str, typer.Argument(help="Such as USDC.")]
AmountArgument = Annotated[str, typer.Argument(help="How much, such as 100 or 0.5.")]
Switch = Annotated[bool | None, typer.Option(help="Left out: as it is.")]


def _move(
    what: str, subaccount: str, asset: str, amount: str, request_id: str, config: Path, as_json: bool
) -> None:
    from daemon import cli_tables

    body = {
        "id": new_id(request_id),
        "subaccount": subaccount,
        "asset": asset,
        "units": units_of(load(config), asset, amount),
    }
    show({"id": body["id"], **post(config, what, **body)}, as_json, cli_tables.done)


def lend(
    subaccount: SubaccountArgument,
    asset: AssetArgument,
    amount: AmountArgument,
    request_id: IdOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Lend cash to the pool of its asset; it stays collateral."""
    _move("lend", subaccount, asset, amount, request_id, config, as_json)


def redeem(
    subaccount: SubaccountArgument,
    asset: AssetArgument,
    amount: AmountArgument,
    request_id: IdOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Take lent units back to cash, as the pool allows."""
    _move("redeem", subaccount, asset, amount, request_id, config, as_json)


def borrow(
    subaccount: SubaccountArgument,
    asset: AssetArgument,
    amount: AmountArgument,
    request_id: IdOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Borrow from the pool into cash; refused says how much would pass."""
    _move("borrow", subaccount, asset, amount, request_id, config, as_json)


def repay(
    subaccount: SubaccountArgument,
    asset: AssetArgument,
    amount: AmountArgument,
    request_id: IdOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Pay a borrow back; more than is owed pays all of it."""
    _move("repay", subaccount, asset, amount, request_id, config, as_json)


def lending(
    subaccount: SubaccountArgument,
    auto_lend: Switch = None,
    auto_borrow: Switch = None,
    auto_repay: Switch = None,
    request_id: IdOption = "",
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show what a subaccount has lent, owes and may borrow; set what happens by itself."""
    from daemon import cli_market_tables as tables

    now = get(config, "lending", subaccount=subaccount)
    wanted = {"auto_lend": auto_lend, "auto_borrow": auto_borrow, "auto_repay": auto_repay}
    if any(choice is not None for choice in wanted.values()):
        chosen = {name: now[name] if choice is None else choice for name, choice in wanted.items()}
        post(config, "lending", id=new_id(request_id), subaccount=subaccount, **chosen)
        now = get(config, "lending", subaccount=subaccount)
    show(now, as_json, tables.lending)


def pools(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show the lending pools: lent, borrowed, utilization, rates."""
    from daemon import cli_market_tables as tables

    show(get(config, "pools"), as_json, tables.pools)


def liquidations(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show what each stage of liquidation did, who is in it, and the fund."""
    from daemon import cli_market_tables as tables

    show(get(config, "liquidations"), as_json, tables.liquidations)


@backstop_app.command("list")
def backstop_list(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Show the providers' capacities and what is left of them."""
    from daemon import cli_market_tables as tables

    show(get(config, "backstop"), as_json, tables.capacities)


@backstop_app.command("register")
def backstop_register(
    subaccount: SubaccountArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Make a subaccount a provider, with no capacity yet."""
    from daemon import cli_tables

    show(post(config, "backstop/register", subaccount=subaccount), as_json, cli_tables.done)


@backstop_app.command("capacity")
def backstop_capacity(
    subaccount: SubaccountArgument,
    market: Annotated[str, typer.Argument(help="Such as SOL-PERP.")],
    per_minute: Annotated[str, typer.Argument(help="Dollars of notional a minute; 0 is none.")],
    per_hour: Annotated[str, typer.Argument(help="Dollars of notional an hour; 0 is none.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Say how much a provider takes in a market."""
    from daemon import cli_tables

    loaded = load(config)
    answer = post(
        config,
        "backstop/capacity",
        subaccount=subaccount,
        market=market,
        per_minute_usd6=units_of(loaded, "USDC", per_minute),
        per_hour_usd6=units_of(loaded, "USDC", per_hour),
    )
    show(answer, as_json, cli_tables.done)


@backstop_app.command("leave")
def backstop_leave(
    subaccount: SubaccountArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Take no more positions over; what was taken stays."""
    from daemon import cli_tables

    show(post(config, "backstop/leave", subaccount=subaccount), as_json, cli_tables.done)


GROUPS: Final = {"backstop": backstop_app}
COMMANDS: Final = (lend, redeem, borrow, repay, lending, pools, liquidations)
