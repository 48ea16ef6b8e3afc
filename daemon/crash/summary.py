"""A page in the terminal: what happened, in a dozen lines."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from daemon.crash.derived import derived, largest_moves
from daemon.crash.format import against_mark, clock, deleveraged, dollars, made, moved, percent, share, shown

STAGE_WORDS = {
    "book": ("on the book", "green"),
    "netting": ("netted", "cyan"),
    "backstop": ("by backstop providers", "yellow"),
    "adl": ("by auto-deleveraging", "red"),
}
# The longest bar; a narrow terminal gets a shorter one.
LONGEST_BAR = 40
BESIDE_BAR = 64


def show(results: dict[str, Any], console: Console) -> None:
    """Print the summary of one run."""
    summary, scenario = results["summary"], results["scenario"]
    bar_length = max(4, min(LONGEST_BAR, console.width - BESIDE_BAR))
    moves = ", ".join(f"{asset} {moved(ppm)}" for asset, ppm in largest_moves(results).items())
    head = Text.assemble(
        (scenario["title"], "bold"),
        f"  {results['accounts']:,} accounts, {clock(scenario['duration_s'])} of market time, ",
        f"seed {results['seed']}\n",
        (f"largest move {moves}; open interest {dollars(summary['open_interest_usd6'])}", "dim"),
    )
    console.print(
        Panel(
            Group(head, "", _stages(results, bar_length), "", _facts(results), "", _verdict(results)),
            box=box.ROUNDED,
        )
    )


def _stages(results: dict[str, Any], bar_length: int) -> Table:
    summary = results["summary"]
    total = summary["liquidated_usd6"]
    table = Table(box=None, pad_edge=False, show_header=False)
    for width in (24, 7, bar_length, 20):
        table.add_column(no_wrap=True, min_width=width)
    table.add_row(
        "[bold]liquidated[/]",
        f"[bold]{dollars(total)}[/]",
        "",
        f"{share(total, summary['open_interest_usd6'])} of open interest",
    )
    for stage, (words, color) in STAGE_WORDS.items():
        usd6 = summary[f"liquidated_{stage}_usd6"]
        filled = usd6 * bar_length // total if total else 0
        bar = f"[{color}]{'█' * filled}[/][dim]{'░' * (bar_length - filled)}[/]"
        table.add_row(
            f"  {words}", dollars(usd6), bar, f"{share(usd6, total)}, {summary[f'fills_{stage}']:,} fills"
        )
    return table


def _facts(results: dict[str, Any]) -> Table:
    summary = results["summary"]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    queued = summary["withdrawals_queued_pool"] + summary["withdrawals_queued_velocity"]
    figures = {**summary, **derived(results)}
    usd = {name: dollars(value) for name, value in figures.items() if name.endswith("_usd6")}
    rows = (
        (
            "in liquidation",
            f"{summary['liquidated_subaccounts']:,} subaccounts, {summary['liquidations']:,} times: "
            f"{summary['liquidations_recovered']:,} recovered, {summary['liquidations_closed']:,} closed, "
            f"{summary['liquidations_bankrupt']:,} bankrupt",
        ),
        (
            "negative equity",
            f"{summary['bankruptcies']:,} bankruptcies, peak {usd['outstanding_peak_usd6']}, "
            f"at the end {usd['outstanding_end_usd6']}",
        ),
        (
            "  settled by",
            f"fund {usd['covered_by_fund_usd6']}, deposits {usd['repaid_by_deposits_usd6']}, what debtors "
            f"had {usd['collected_from_debtors_usd6']}, written off {usd['socialized_usd6']}",
        ),
        (
            "winners' claims",
            f"peak {usd['lacking_peak_usd6']}, unpaid at the end {usd['claims_end_usd6']}: "
            f"{usd['outstanding_end_usd6']} from debtors, {usd['fund_owes_end_usd6']} from the fund",
        ),
        (
            "insurance fund",
            f"{usd['fund_start_usd6']} → {usd['fund_worth_end_usd6']} less what it owes, low "
            f"{usd['fund_worth_low_usd6']}, {usd['fund_inventory_end_usd6']} in other assets",
        ),
        (
            "deposits",
            f"{summary['deposits']:,}: {usd['deposits_applied_usd6']} to debts, "
            f"{usd['deposits_credited_usd6']} credited; {summary['deposits_held']:,} held, "
            f"{summary['deposits_sent_back']:,} sent back",
        ),
        (
            "withdrawals",
            f"{summary['withdrawals_passed']:,} passed, {queued:,} queued "
            f"({summary['withdrawals_released']:,} released), {summary['withdrawals_refused']:,} refused",
        ),
        (
            "who bore it",
            f"slippage on the book {usd['slippage_usd6']}; backstop providers "
            f"{made(summary['providers_result_usd6'])}; "
            f"{against_mark(summary['adl_forgone_usd6'])}",
        ),
        ("deleveraged", deleveraged(summary)),
        ("mark", f"at most {percent(summary['widest_mark_lag_ppm'])} from the price outside"),
    )
    for row in rows:
        table.add_row(*row)
    return table


def _verdict(results: dict[str, Any]) -> Text:
    summary = results["summary"]
    wrong = [one["what"] for one in results["checks"] if not one["agree"]]
    if summary["previews_wrong"]:
        wrong.append(f"{summary['previews_wrong']} deposit previews")
    if wrong:
        return Text("does not agree: " + ", ".join(wrong), style="bold red")
    return Text(
        f"{results['invariant_checks']:,} checks of the invariants held; events and engine agree to "
        f"the unit; {summary['previews_exact']:,} deposit previews were exact.\n"
        f"state {results['state_hash'][:16]}…",
        style="green",
    )


def show_sweep(swept: dict[str, Any], console: Console) -> None:
    """Print the runs of a sweep side by side."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column(swept["param"])
    for value in swept["values"]:
        table.add_column(value, justify="right")
    for metric in swept["metrics"]:
        table.add_row(metric["name"], *[shown(metric["unit"], value) for value in metric["values"]])
    console.print(table)
