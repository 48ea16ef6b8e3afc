"""The public summary of a bundle: lines, rates, and the awkward part, for a terminal, a page or an API.

Owns: what is shown and how a number is written. Every figure comes from a header that the verifier has read;
nothing is computed here that the verifier does not also compute. Must not know how to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from solvency.verifier import (
    FUND_NAME,
    PPM,
    QUANTA_PER_USD6,
    RATE_NOTHING_OWED,
    SETTLEMENT,
    Header,
    is_covered,
)


@dataclass(frozen=True, slots=True)
class SummaryLine:
    """Hold one asset: holdings must cover `net_units`; `rate_ppm` is None when nothing is owed net."""

    symbol: str
    decimals: int
    holdings_units: int
    liabilities_units: int
    loans_units: int
    net_units: int
    fund_units: int
    rate_ppm: int | None
    price_e8: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Hold what one epoch tells the public."""

    epoch: int
    bundle_hash: str
    time_ns: int
    sequence: int
    slot: int
    lines: tuple[SummaryLine, ...]
    holdings_usd6: int
    net_usd6: int
    total_rate_ppm: int | None
    claims_usd6: int
    debts_usd6: int
    outstanding_negative_equity_usd6: int
    insurance_fund_usd6: int
    debtors: int
    listed: int
    covered: bool


def _rate(rate_ppm: int) -> int | None:
    return None if rate_ppm == RATE_NOTHING_OWED else rate_ppm


def summarize(header: Header) -> Summary:
    """Return the summary of a header; usd6 values round down, what is owed rounds up."""
    fund = next(account for account in header.open_accounts if account.name == FUND_NAME)
    lines = tuple(
        SummaryLine(
            symbol=asset.symbol,
            decimals=asset.decimals,
            holdings_units=line.holdings_units,
            liabilities_units=line.credits.total,
            loans_units=line.borrows_units,
            net_units=header.net_units(number),
            fund_units=fund.credits[number],
            rate_ppm=_rate(line.rate_ppm),
            price_e8=asset.price_e8,
        )
        for number, (asset, line) in enumerate(zip(header.assets, header.lines, strict=True))
    )
    return Summary(
        epoch=header.epoch,
        bundle_hash=header.hash.hex(),
        time_ns=header.time_ns,
        sequence=header.sequence,
        slot=header.slot,
        lines=lines,
        holdings_usd6=header.total_holdings_quanta() // QUANTA_PER_USD6,
        net_usd6=-(-header.total_net_quanta() // QUANTA_PER_USD6),
        total_rate_ppm=_rate(header.total_rate_ppm),
        claims_usd6=header.claims.total,
        debts_usd6=header.debts_usd6,
        outstanding_negative_equity_usd6=header.shortfall_usd6,
        insurance_fund_usd6=fund.equity_quanta(header.assets) // QUANTA_PER_USD6,
        debtors=header.debtor_count,
        listed=header.listed_count,
        covered=is_covered(header),
    )


def to_json(summary: Summary) -> bytes:
    """Write a summary as JSON; whole numbers become strings, since JavaScript rounds them above 2^53."""

    def plain(value: object) -> object:
        if isinstance(value, bool) or value is None or isinstance(value, str):
            return value
        if isinstance(value, int):
            return str(value)
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, list | tuple) else str(value)

    return msgspec.json.encode(plain(msgspec.to_builtins(summary)))


def amount_text(units: int, decimals: int) -> str:
    """Write units as a decimal number, exactly: 1300000000 with 6 decimals is "1,300.000000"."""
    sign, units = ("-", -units) if units < 0 else ("", units)
    whole, rest = divmod(units, 10**decimals)
    return f"{sign}{whole:,}" + (f".{rest:0{decimals}d}" if decimals else "")


def usd_text(usd6: int) -> str:
    """Write micro-dollars to the cent, towards minus infinity: 1234567 is "$1.23"."""
    cents = usd6 // 10_000
    sign, cents = ("-", -cents) if cents < 0 else ("", cents)
    return f"{sign}${cents // 100:,}.{cents % 100:02d}"


def rate_text(rate_ppm: int | None) -> str:
    """Write a rate in percent, rounded down to 0.01 so that 100.00% is never short of it."""
    if rate_ppm is None:
        return "nothing owed"
    basis_points = rate_ppm * 10_000 // PPM
    return f"{basis_points // 100:,}.{basis_points % 100:02d}%"


def time_text(time_ns: int) -> str:
    """Write a time in UTC to the second."""
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def table(summary: Summary) -> list[tuple[str, ...]]:
    """Return the rows of the terminal's table, titles first, the total last."""
    rows: list[tuple[str, ...]] = [
        ("asset", "holdings", "liabilities", "loans", "net owed", "fund", "reserve rate")
    ]
    for line in summary.lines:
        units = (
            line.holdings_units,
            line.liabilities_units,
            line.loans_units,
            line.net_units,
            line.fund_units,
        )
        texts = [amount_text(value, line.decimals) for value in units]
        rows.append((line.symbol, *texts, rate_text(line.rate_ppm)))
    total = (usd_text(summary.holdings_usd6), "", "", usd_text(summary.net_usd6))
    rows.append(("total", *total, usd_text(summary.insurance_fund_usd6), rate_text(summary.total_rate_ppm)))
    return rows


def awkward_rows(summary: Summary) -> list[tuple[str, str]]:
    """Return the lines that an exchange would rather not show."""
    return [
        ("outstanding negative equity", usd_text(summary.outstanding_negative_equity_usd6)),
        ("accounts below zero", f"{summary.listed:,}"),
        ("unpaid claims", usd_text(summary.claims_usd6)),
        ("debts to the settlement pool", usd_text(summary.debts_usd6)),
        ("insurance fund", usd_text(summary.insurance_fund_usd6)),
        ("accounts with debt", f"{summary.debtors:,}"),
    ]


def settlement_symbol(history: Sequence[Summary]) -> str:
    """Return the symbol of the settlement asset."""
    return history[-1].lines[SETTLEMENT].symbol
