"""The public page: one self-contained HTML file with the latest lines, the history, and what is not proved.

Owns: markup and drawing. No script, no link to another host, nothing loaded: it can be saved, mailed and read
in ten years. Must not compute a figure: all come from `summary.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from solvency.summary import (
    Summary,
    awkward_rows,
    rate_text,
    table,
    time_text,
    usd_text,
)

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 240, 92, 16, 14, 30
_HISTORY_ROWS = 50
_STYLE = """
:root{--ink:#1a1f24;--soft:#5c6670;--rule:#d9dee3;--paper:#fff;--line:#0b63b5;--bad:#b3261e;--good:#1b6e3c}
@media(prefers-color-scheme:dark){:root{--ink:#e7eaed;--soft:#9aa4ad;--rule:#343b42;--paper:#14181c;--line:#6db3f2;
--bad:#ff8a80;--good:#7bd39a}}
body{margin:0 auto;max-width:900px;padding:24px 16px;font:15px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--paper)}
h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:32px 0 8px}
p{margin:6px 0}.soft{color:var(--soft)}.bad{color:var(--bad)}.good{color:var(--good)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:5px 10px;border-bottom:1px solid var(--rule);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}th{font-weight:600;color:var(--soft)}
code{font-size:13px;overflow-wrap:anywhere}svg{width:100%;height:auto;display:block}
svg text{font:12px system-ui,sans-serif;fill:var(--soft)}
""".strip()

NOT_PROVED = (
    "that the reserves belong to nobody else or were not lent for the moment",
    "that there are no debts outside these books",
    "anything about customers who never check: with k wrong accounts and a share q of customers checking, "
    "a lie is found with probability 1 − (1 − q)^k in each epoch",
    "that the prices and haircuts are right: compare them with the market",
    "the amounts on chain: compare them with a node of your own",
)


def _rows(rows: Sequence[Sequence[str]], head: bool) -> str:
    out = []
    for number, row in enumerate(rows):
        cell = "th" if head and number == 0 else "td"
        out.append("<tr>" + "".join(f"<{cell}>{escape(text)}</{cell}>" for text in row) + "</tr>")
    return '<div class="wide"><table>' + "".join(out) + "</table></div>"


def _bounds(values: Sequence[int], mark: int) -> tuple[int, int]:
    """Return a range that holds all values and the mark, with a tenth of air and never empty."""
    low, high = min(*values, mark), max(*values, mark)
    air = max((high - low) // 10, 1)
    return max(0, low - air), high + air


def _chart(
    times_ns: Sequence[int], values: Sequence[int], mark: int, label: Callable[[int], str], name: str
) -> str:
    """Draw values over time as a step line with a dashed mark; the text says the first, last and lowest."""
    low, high = _bounds(values, mark)
    start, end = times_ns[0], max(times_ns[-1], times_ns[0] + 1)
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def across(time_ns: int) -> int:
        return LEFT + (time_ns - start) * wide // (end - start)

    def up(value: int) -> int:
        return TOP + tall - (value - low) * tall // (high - low)

    path = f"M{across(times_ns[0])} {up(values[0])}"
    for time_ns, value in zip(times_ns[1:], values[1:], strict=True):
        path += f"H{across(time_ns)}V{up(value)}"
    if len(values) == 1:
        path += f"H{WIDTH - RIGHT}"
    grid = "".join(
        f'<path d="M{LEFT} {up(value)}H{WIDTH - RIGHT}" stroke="var(--rule)"{dash}/>'
        f'<text x="{LEFT - 8}" y="{up(value) + 4}" text-anchor="end">{escape(label(value))}</text>'
        for value, dash in {low: "", high: "", mark: ' stroke-dasharray="5 4"'}.items()
    )
    described = (
        f"{name}: {label(values[0])} at first, {label(values[-1])} now, lowest {label(min(values))}, "
        f"highest {label(max(values))}"
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(described)}">'
        f"<title>{escape(described)}</title>"
        f'{grid}<path d="{path}" fill="none" stroke="var(--line)" stroke-width="2"/>'
        f'<text x="{LEFT}" y="{HEIGHT - 8}">{escape(time_text(times_ns[0]))}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 8}" text-anchor="end">'
        f"{escape(time_text(times_ns[-1]))}</text></svg>"
    )


def _verdict(summary: Summary) -> str:
    if summary.covered:
        return '<p class="good"><strong>Holdings cover what is owed in every asset.</strong></p>'
    short = ", ".join(line.symbol for line in summary.lines if line.holdings_units < line.net_units)
    return f'<p class="bad"><strong>Holdings do not cover what is owed in {escape(short)}.</strong></p>'


def _history(history: Sequence[Summary]) -> str:
    rows: list[tuple[str, ...]] = [("time", "epoch", "reserve rate", "deficit", "claims", "fund", "bundle")]
    rows += [
        (
            time_text(summary.time_ns),
            str(summary.epoch),
            rate_text(summary.total_rate_ppm),
            usd_text(summary.outstanding_negative_equity_usd6),
            usd_text(summary.claims_usd6),
            usd_text(summary.insurance_fund_usd6),
            summary.bundle_hash[:16] + "…",
        )
        for summary in reversed(history[-_HISTORY_ROWS:])
    ]
    return _rows(rows, head=True)


def render(history: Sequence[Summary], exchange: str = "Makewhole") -> str:
    """Return the page for a history of summaries, oldest first; reject an empty one with ValueError."""
    if not history:
        raise ValueError("a page needs at least one epoch")
    latest = history[-1]
    rated = [
        (summary.time_ns, summary.total_rate_ppm) for summary in history if summary.total_rate_ppm is not None
    ]
    charts = ""
    if rated:
        times, rates = zip(*rated, strict=True)
        charts += "<h2>Reserve rate</h2>" + _chart(times, rates, 1_000_000, rate_text, "Total reserve rate")
    deficits = [summary.outstanding_negative_equity_usd6 for summary in history]
    if any(deficits):
        times_ns = [summary.time_ns for summary in history]
        charts += "<h2>Outstanding negative equity</h2>" + _chart(
            times_ns, deficits, 0, usd_text, "Outstanding negative equity"
        )
    points = "".join(f"<li>{escape(text)}</li>" for text in NOT_PROVED)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width,initial-scale=1"><meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(exchange)}: proof of solvency</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(exchange)}: proof of solvency</h1>"
        f'<p class="soft">Epoch {latest.epoch}, {escape(time_text(latest.time_ns))}. Balances at sequence '
        f"{latest.sequence}, holdings at slot {latest.slot}.</p>{_verdict(latest)}"
        + _rows(table(latest), head=True)
        + '<p class="soft">Net owed = liabilities − loans; the settlement asset adds '
        + "claims − debts + deficit.</p>"
        + "<h2>The awkward part</h2>"
        + _rows(awkward_rows(latest), head=False)
        + charts
        + "<h2>History</h2>"
        + _history(history)
        + f"<h2>What this does not prove</h2><ul>{points}</ul>"
        + f"<h2>Check it</h2><p>Bundle <code>{escape(latest.bundle_hash)}</code>. "
        "This page proves nothing: the bundle does. Take it, its hash from the memo on chain, and "
        "<code>solvency/verifier.py</code>.</p></body></html>"
    )
