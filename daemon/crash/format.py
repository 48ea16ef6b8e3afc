"""Numbers for people: dollars, shares, minutes. Whole numbers only, so that pages are the same everywhere."""

from __future__ import annotations

PPM = 1_000_000


def dollars(usd6: int) -> str:
    """Write a sum with three significant digits and K, M or B: $1.23M."""
    sign, cents = ("-" if usd6 < 0 else ""), (abs(usd6) + 5_000) // 10_000
    for scale, letter in ((10**11, "B"), (10**8, "M"), (10**5, "K")):
        if cents >= scale:
            return f"{sign}${_three(cents * 100 // scale)}{letter}"
    whole, rest = divmod(cents, 100)
    return f"{sign}${whole}" if whole >= 100 or not rest else f"{sign}${whole}.{rest:02d}"


def _three(hundredths: int) -> str:
    whole, rest = divmod(hundredths, 100)
    if whole >= 100:
        return str(whole)
    return f"{whole}.{rest // 10}" if whole >= 10 else f"{whole}.{rest:02d}"


def against_mark(forgone_usd6: int) -> str:
    """Say what the deleveraged gave up, or gained, against a close at mark (R24)."""
    did = "gave up" if forgone_usd6 >= 0 else "gained"
    return f"the deleveraged {did} {dollars(abs(forgone_usd6))} against a close at mark"


def deleveraged(summary: dict[str, int]) -> str:
    """Say whom auto-deleveraging reduced (R24): those it brings nearer to flat first, hedges last."""
    bets_usd6, hedges_usd6 = summary["adl_reduces_delta_usd6"], summary["adl_hedge_usd6"]
    left_alone = summary["hedgers"] - summary["hedgers_deleveraged"]
    return (
        f"{summary['adl_reduces_delta_holders']:,} holders, {dollars(bets_usd6)} of their bets; "
        f"{summary['adl_hedge_holders']:,}, {dollars(hedges_usd6)} of their hedges; "
        f"{left_alone:,} of {summary['hedgers']:,} hedged customers left alone"
    )


def made(usd6: int) -> str:
    """Say what somebody made or lost."""
    return f"{'made' if usd6 >= 0 else 'lost'} {dollars(abs(usd6))}"


def percent(ppm: int, digits: int = 1) -> str:
    """Write parts per million as percent, rounded toward zero."""
    scale = 10 ** (4 - digits)
    whole, rest = divmod(abs(ppm) // scale, 10**digits)
    sign = "-" if ppm < 0 and (whole or rest) else ""
    return f"{sign}{whole}.{rest:0{digits}d}%" if digits else f"{sign}{whole}%"


def moved(ppm: int) -> str:
    """Write how far a price went, with its sign."""
    return f"{'+' if ppm > 0 else ''}{percent(ppm)}"


def share(part: int, whole: int, digits: int = 1) -> str:
    """Write a part of a whole as percent."""
    return percent(part * PPM // whole, digits) if whole else "-"


def clock(second: int) -> str:
    """Write a second as minutes:seconds."""
    return f"{second // 60}:{second % 60:02d}"


def units(amount: int, decimals: int) -> str:
    """Write base units as a decimal number without needless zeros."""
    whole, rest = divmod(abs(amount), 10**decimals)
    text = f"{whole:,}"
    if rest:
        text += "." + f"{rest:0{decimals}d}".rstrip("0")
    return ("-" if amount < 0 else "") + text


def shown(unit: str, value: int) -> str:
    """Write a figure by its unit: usd6, ppm, ms, or a count."""
    if unit == "usd6":
        return dollars(value)
    if unit == "ms":
        return f"{value // 1_000:,}.{value % 1_000 // 100} s"
    return percent(value, 2 if abs(value) < 100_000 else 1) if unit == "ppm" else f"{value:,}"
