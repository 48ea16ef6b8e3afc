"""What a scenario file may say, and how it is read.

Owns the list of keys, their defaults and limits. Rules: an unknown key is a fault with the nearest known
one beside it, all faults are named at once, and numbers are exact (decimal text becomes integers; no
float takes part). A curve is a list of [second, value] pairs, linear in between and level outside.
Everything that depends on how many customers there are is said as a share, so that one file serves 200
accounts and 100,000. Must not know the engine beyond its parameters.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any, Final

from daemon.config_reading import REQUIRED, Key, nearest, read_table, shown, text, whole
from daemon.crash.curve import Curve
from daemon.crash.values import (
    KINDS,
    PPM,
    count,
    curve,
    dollars,
    kinds,
    percent,
    signed_percent,
    usd_price,
    weighted,
    weights,
)
from daemon.errors import ConfigError, DaemonError

PACKAGED: Final = ("calm", "depeg", "october", "severe")


@dataclass(frozen=True, slots=True)
class AssetPath:
    """The price of one asset outside of this exchange: a start and the change from it over time."""

    symbol: str
    start_e8: int
    change_ppm: Curve
    noise_ppm: Curve


@dataclass(frozen=True, slots=True)
class Oracle:
    """How the index learns of the price outside: sources in feeds, each behind by the lag and its own."""

    feeds: int
    sources: int
    lag_s: Curve
    straggle_s: int
    step_cap_ppm: int


@dataclass(frozen=True, slots=True)
class BookShape:
    """What market makers rest on the books: depth is a share of the open interest at the start, a side."""

    makers: int
    levels: int
    refresh_s: int
    depth_ppm: Curve
    reach_ppm: Curve
    half_spread_ppm: Curve
    quote_lag_s: Curve
    flow_ppm: Curve
    impact_ppm: int


@dataclass(frozen=True, slots=True)
class Customers:
    """Who is there. Weighted choices are (value, weight) pairs; `kinds` weighs the ways to take part."""

    equity_usd: tuple[tuple[int, int], ...]
    leverage: tuple[tuple[int, int], ...]
    kinds: tuple[tuple[str, int], ...]
    markets: tuple[tuple[str, int], ...]
    collateral: tuple[tuple[str, int], ...]
    second_market_ppm: int
    hold_ppm: int


@dataclass(frozen=True, slots=True)
class Lending:
    """Who borrows what: the share of a borrower's equity that is borrowed, and of which asset."""

    borrow_ppm: int
    assets: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Backstop:
    """Liquidity providers: how many, their capital and capacity as shares of the open interest."""

    providers: int
    capital_ppm: int
    minute_ppm: int
    hour_ppm: int


@dataclass(frozen=True, slots=True)
class Deposits:
    """What liquidated customers send in: who comes, how long after, and how much of what they had."""

    come_ppm: int
    delay_s: tuple[tuple[int, int], ...]
    amount_ppm: tuple[tuple[int, int], ...]
    assets: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Withdrawals:
    """What customers take out: requests per minute per million customers, and the share asked for."""

    rate: Curve
    amount_ppm: tuple[tuple[int, int], ...]
    payout_s: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole scenario. `source` is its name or file; engine and market keys override parameters."""

    source: str
    title: str
    description: str
    duration_s: int
    prices: tuple[AssetPath, ...]
    oracle: Oracle
    book: BookShape
    customers: Customers
    lending: Lending
    backstop: Backstop
    fund_ppm: int
    deposits: Deposits
    withdrawals: Withdrawals
    engine: tuple[tuple[str, int], ...]
    markets: tuple[tuple[str, int], ...]


# -- the keys --

_ROOT = (
    Key("title", text, REQUIRED, "what the report is headed with"),
    Key("description", text, REQUIRED, "what happens, in a sentence or two"),
    Key("duration_s", whole(10, 86_400), 3_600, "seconds of market time"),
)
_PRICE = (
    Key("start", usd_price, REQUIRED, "the price at second 0, in dollars"),
    Key("change", curve(signed_percent), Curve(((0, 0),)), "percent from the start, over time"),
    Key("noise", curve(percent), Curve(((0, 200),)), "typical wobble around the path, percent"),
)
_ORACLE = (
    Key("feeds", whole(1, 9), 2, "independent feeds"),
    Key("sources", whole(1, 20), 3, "sources in each feed"),
    Key("lag_s", curve(count), Curve(((0, 1),)), "seconds the sources are behind"),
    Key("straggle_s", whole(0, 600), 0, "seconds that the slowest source is further behind"),
    Key("step_cap", percent, 0, "percent that a source moves a second at most; 0 for no cap"),
)
_BOOK = (
    Key("makers", whole(1, 50), 3, "market makers per market"),
    Key("levels", whole(1, 50), 4, "price levels per maker and side"),
    Key("refresh_s", whole(1, 60), 2, "seconds between new ladders"),
    Key("depth", curve(percent), Curve(((0, 40_000),)), "percent of open interest resting on each side"),
    Key("reach", curve(percent), Curve(((0, 10_000),)), "percent from the middle to the last level"),
    Key("half_spread", curve(percent), Curve(((0, 200),)), "percent from the middle to the first level"),
    Key("quote_lag_s", curve(count), Curve(((0, 0),)), "seconds the makers are behind the price outside"),
    Key("flow", curve(percent), Curve(((0, 1_000),)), "percent of open interest traded by others, a minute"),
    Key("impact", percent, 0, "percent that the price outside moves for a percent of open interest forced"),
)
_CUSTOMERS = (
    Key("equity_usd", weighted(dollars), REQUIRED, "what customers start with, [dollars, weight]"),
    Key("leverage", weighted(count), REQUIRED, "exposure over equity, [times, weight]"),
    Key("kinds", kinds, (("long", 60), ("short", 25), ("hedger", 15)), "weights of " + ", ".join(KINDS)),
    Key("markets", weights, REQUIRED, "weights of the markets"),
    Key("collateral", weights, (("USDC", 1),), "weights of what they deposit"),
    Key("second_market", percent, 250_000, "percent of customers that hold a second market"),
    Key("hold_on_debt", percent, 0, "percent that choose to look before a deposit pays a debt (R29)"),
)
_LENDING = (
    Key("borrow", percent, 300_000, "percent of a borrower's equity that is borrowed"),
    Key("assets", weights, (("USDC", 1),), "weights of what is borrowed"),
)
_BACKSTOP = (
    Key("providers", whole(0, 50), 3, "liquidity providers"),
    Key("capital", percent, 50_000, "their capital together, percent of open interest"),
    Key("per_minute", percent, 10_000, "capacity together a minute, percent of open interest"),
    Key("per_hour", percent, 100_000, "capacity together an hour, percent of open interest"),
)
_FUND = (Key("size", percent, REQUIRED, "percent of open interest"),)
_DEPOSITS = (
    Key("come", percent, 0, "percent of liquidated customers that send money"),
    Key("delay_s", weighted(count), ((60, 1),), "seconds after, [seconds, weight]"),
    Key("amount", weighted(percent), ((500_000, 1),), "percent of what they started with, [percent, weight]"),
    Key("assets", weights, (("USDC", 1),), "weights of what they send"),
)
_WITHDRAWALS = (
    Key("per_minute", curve(percent), Curve(((0, 0),)), "percent of customers that ask, a minute"),
    Key("amount", weighted(percent), ((250_000, 1),), "percent of what they started with, [percent, weight]"),
    Key("payout_s", whole(1, 600), 15, "seconds from order to final payout"),
)
_TABLES: Final = {
    "prices": "a table per asset, written [prices.SOL]",
    "oracle": "",
    "book": "",
    "customers": "",
    "lending": "",
    "backstop": "",
    "fund": "",
    "deposits": "",
    "withdrawals": "",
    "engine": "engine parameters that differ from the default",
    "markets": "market parameters that differ from the default, for every market",
}


def load_scenario(name: str) -> Scenario:
    """Read and check a packaged scenario or a file. Raises ConfigError with every fault at once."""
    return read_scenario(*parsed_scenario(name))


def parsed_scenario(name: str) -> tuple[str, dict[str, Any]]:
    """Read a packaged scenario by name or a file by path, unchecked; gives its source and its tables."""
    path = Path(name)
    if name in PACKAGED:
        source = name
        raw = resources.files("daemon.crash").joinpath("scenarios", f"{name}.toml").read_text("utf-8")
    elif path.is_file():
        source = path.name
        raw = path.read_text("utf-8", errors="replace")
    else:
        raise DaemonError(f"no scenario `{name}`: no such file; {nearest(name, PACKAGED)}")
    try:
        return source, tomllib.loads(raw, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"scenario {source}", [f"is not TOML: {error}"]) from None


def read_scenario(source: str, plain: Mapping[str, Any]) -> Scenario:
    """Check a parsed file and give the scenario. Raises ConfigError with every fault at once."""
    faults: list[str] = []
    root = _root(plain, faults)
    prices = _prices(plain.get("prices"), faults)

    def table(name: str, keys: Iterable[Key]) -> dict[str, Any]:
        return read_table(plain.get(name, {}), name, keys, faults)

    oracle, book = table("oracle", _ORACLE), table("book", _BOOK)
    customers, lending = table("customers", _CUSTOMERS), table("lending", _LENDING)
    backstop, fund = table("backstop", _BACKSTOP), table("fund", _FUND)
    deposits, withdrawals = table("deposits", _DEPOSITS), table("withdrawals", _WITHDRAWALS)
    engine, markets = _overrides(plain, faults)
    _check_names(plain.get("prices"), customers, lending, deposits, faults)
    if faults:
        raise ConfigError(f"scenario {source}", faults)
    return Scenario(
        source=source,
        title=root["title"],
        description=" ".join(root["description"].split()),
        duration_s=root["duration_s"],
        prices=prices,
        oracle=Oracle(*_values(oracle, _ORACLE)),
        book=BookShape(*_values(book, _BOOK)),
        customers=Customers(*_values(customers, _CUSTOMERS)),
        lending=Lending(*_values(lending, _LENDING)),
        backstop=Backstop(*_values(backstop, _BACKSTOP)),
        fund_ppm=fund["size"],
        deposits=Deposits(*_values(deposits, _DEPOSITS)),
        withdrawals=Withdrawals(*_values(withdrawals, _WITHDRAWALS)),
        engine=engine,
        markets=markets,
    )


def _values(table: dict[str, Any], keys: Iterable[Key]) -> list[Any]:
    return [table[key.name] for key in keys]


def _root(plain: Mapping[str, Any], faults: list[str]) -> dict[str, Any]:
    known = [key.name for key in _ROOT] + list(_TABLES)
    faults += [f"{name}: unknown key; {nearest(str(name), known)}" for name in plain if name not in known]
    return read_table(
        {name: plain[name] for name in plain if name not in _TABLES and name in known}, "", _ROOT, faults
    )


def _prices(table: object, faults: list[str]) -> tuple[AssetPath, ...]:
    if not isinstance(table, Mapping) or not table:
        faults.append("prices: missing; a table per asset, written [prices.SOL]")
        return ()
    paths = []
    for symbol, one in table.items():
        values = read_table(one, f"prices.{symbol}", _PRICE, faults)
        if values["change"] is not None and values["change"].at(0):
            faults.append(f"prices.{symbol}.change: is not 0 at second 0, when the price is `start`")
        if values["start"] is not None:
            paths.append(AssetPath(str(symbol), values["start"], values["change"], values["noise"]))
    return tuple(paths)


def _overrides(
    plain: Mapping[str, Any], faults: list[str]
) -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]:
    from engine.params import MarketParams, Params

    read = []
    for name, kind in (("engine", Params), ("markets", MarketParams)):
        known = [one.name for one in fields(kind) if one.type == "int"]
        keys = [Key(one, whole(-(2**63)), None, "") for one in known]
        values = read_table(plain.get(name, {}), name, keys, faults)
        read.append(tuple((key, value) for key, value in sorted(values.items()) if value is not None))
    return read[0], read[1]


def _check_names(
    prices: object,
    customers: dict[str, Any],
    lending: dict[str, Any],
    deposits: dict[str, Any],
    faults: list[str],
) -> None:
    if not isinstance(prices, Mapping) or not prices:
        return
    assets = ["USDC", *prices]
    known_markets = [f"{symbol}-PERP" for symbol in prices]
    places = [
        ("customers.markets", customers["markets"], known_markets),
        ("customers.collateral", customers["collateral"], assets),
        ("lending.assets", lending["assets"], assets),
        ("deposits.assets", deposits["assets"], assets),
    ]
    for path, pairs, known in places:
        for name, _ in pairs or ():
            if name not in known:
                faults.append(f"{path}.{name}: has no price path; {nearest(name, known)}")


__all__ = ["PACKAGED", "PPM", "Scenario", "load_scenario", "read_scenario", "shown"]
