"""The page: whole in one file, honest without scripts, drawn in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from daemon.crash.derived import derived, furthest_second, largest_moves
from daemon.crash.format import against_mark, clock, deleveraged, dollars, made, percent, share, shown, units
from daemon.crash.report import page, render
from daemon.crash.results import results_of
from daemon.crash.summary import show, show_sweep
from daemon.crash.sweep import folder_of, sweep_page, sweep_results

from .crash_helpers import compressed, replayed

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@cache
def results() -> dict[str, Any]:
    return results_of(replayed(compressed("severe", 60), 80))


@cache
def swept() -> dict[str, Any]:
    return sweep_results("fund.size", [("0.1", results()), ("<2>", results())])


class Page(HTMLParser):
    """Collects what a page has and what it would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []
        self.text = StringIO()
        self.data = ""
        self._in_data = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        self.loads += [str(given[name]) for name in ("src", "srcset", "data") if given.get(name)]
        if tag == "link":
            self.loads.append(str(given.get("href")))
        if tag not in ("meta", "br", "link"):
            self.open.append(tag)
        self._in_data = given.get("id") == "data"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._in_data = False

    def handle_data(self, data: str) -> None:
        self.text.write(data)
        if self._in_data:
            self.data += data


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    html = page(results())
    found = Page(html)
    assert found.open == []
    assert found.loads == []
    assert "@import" not in html and "url(" not in html
    assert len(set(found.ids)) == len(found.ids)
    # Addresses stand in the license of the chart library alone.
    assert set(re.findall(r"https?://[^\s\"'*)]+", html)) == {"https://github.com/leeoniya/uPlot"}


def test_the_page_carries_the_series_unchanged() -> None:
    data = msgspec.json.decode(Page(page(results())).data)
    assert data["series"] == results()["series"]
    assert data["seconds"] == results()["seconds"]


def test_the_figures_stand_in_the_page_without_scripts() -> None:
    text = Page(page(results())).text.getvalue()
    summary = results()["summary"]
    for figure in (
        dollars(summary["liquidated_usd6"]),
        dollars(summary["outstanding_peak_usd6"]),
        f"{results()['invariant_checks']:,} checks of the invariants",
        results()["state_hash"],
    ):
        assert figure in text, figure


def test_a_title_cannot_break_out_of_the_page() -> None:
    evil = "</script><script>alert(1)</script>"
    html = render(evil, "", {"series": {}, "title": evil})
    assert "alert(1)</script>" not in html
    assert msgspec.json.decode(Page(html).data)["title"] == evil


def test_the_largest_liquidations_stand_in_a_table() -> None:
    html = page(results())
    assert len(results()["largest"]) == 10
    for one in results()["largest"]:
        total = dollars(sum(one["usd6"].values()))
        row = html.split(f"<tr><td>{one['subaccount']}</td><td>{one['kind']}</td>", 1)[1].split("</tr>", 1)[0]
        assert f'<td class="n">{total}</td>' in row and f"<td>{one['outcome']}</td>" in row
    assert "of whom most was liquidated" not in page({**results(), "largest": []})


def test_who_was_deleveraged_is_said() -> None:
    summary = {
        **results()["summary"],
        "hedgers": 9,
        "hedgers_deleveraged": 2,
        "liquidated_adl_usd6": 5_000_000,
    }
    summary |= {"adl_reduces_delta_holders": 3, "adl_reduces_delta_usd6": 4_000_000}
    summary |= {"adl_hedge_holders": 2, "adl_hedge_usd6": 1_000_000}
    words = "3 holders, $4 of their bets; 2, $1 of their hedges; 7 of 9 hedged customers left alone"
    assert deleveraged(summary) == words
    assert words in page({**results(), "summary": summary})
    assert "Deleveraged" not in page({**results(), "summary": {**summary, "liquidated_adl_usd6": 0}})


def test_every_deposit_is_in_the_table() -> None:
    html = page(results())
    for one in results()["deposits"][:20]:
        assert f"<td>{one['subaccount']}</td>" in html


def test_the_summary_fits_a_page() -> None:
    out = StringIO()
    show(results(), Console(file=out, width=110, highlight=False))
    show_sweep(swept(), Console(file=out, width=110, highlight=False))
    text = out.getvalue()
    assert len(text.splitlines()) <= 50
    for words in ("on the book", "by auto-deleveraging", "insurance fund", "checks of the invariants held"):
        assert words in text


def test_a_terminal_of_80_columns_loses_no_word() -> None:
    summary = {**results()["summary"], "liquidations": 39_000, "liquidated_subaccounts": 4_100}
    summary |= {"open_interest_usd6": 987_000_000_000_000, "liquidated_usd6": 877_000_000_000_000}
    out = StringIO()
    show({**results(), "summary": summary}, Console(file=out, width=80, highlight=False))
    lines = out.getvalue().splitlines()
    assert len(lines) <= 32 and max(map(len, lines)) <= 80
    words = " ".join(" ".join(line.strip("│ ").split()) for line in lines)
    assert "88.8% of open interest" in words and "…" not in words.split("state ")[0]
    assert "4,100 subaccounts, 39,000 times" in words


def test_subaccounts_are_counted_once_however_often_they_are_liquidated() -> None:
    summary = results()["summary"]
    assert 0 < summary["liquidated_subaccounts"] <= min(results()["accounts"], summary["liquidations"])


def test_debts_that_arose_are_those_settled_and_those_left() -> None:
    """To the unit; what a deposit paid of an account below zero that is not bankrupt yet is no debt's."""
    for run in (results(), results_of(replayed(compressed("severe", 24), 200))):
        summary = run["summary"]
        paid = (
            "covered_by_fund_usd6",
            "repaid_by_deposits_usd6",
            "collected_from_debtors_usd6",
            "socialized_usd6",
        )
        settled_usd6 = sum(summary[name] for name in paid)
        assert summary["bankrupt_usd6"] > 0
        assert run["checks"][0]["what"] == "outstanding debts"
        assert summary["bankrupt_usd6"] == settled_usd6 + run["checks"][0]["engine"]
        assert 0 < summary["repaid_by_deposits_usd6"] <= summary["deposits_applied_usd6"]


def test_what_the_fund_owes_is_said_wherever_claims_are() -> None:
    short = {
        **results()["summary"],
        "fund_owes_end_usd6": 122_108_764_347,
        "outstanding_end_usd6": 7_248_718_577,
    }
    short |= {"claims_end_usd6": 129_357_482_924, "fund_start_usd6": 5_000_000_000}
    series = {**results()["series"]}
    for name, end in {
        "fund_usd6": 0,
        "fund_inventory_usd6": 6_000_000,
        "fund_owes_usd6": 122_108_764_347,
        "fund_borrowed_usd6": 3_000_000_000,
    }.items():
        series[name] = [*[0] * (len(results()["seconds"]) - 1), end]
    run = {**results(), "summary": short, "series": series}
    out = StringIO()
    show(run, Console(file=out, width=110, highlight=False))
    assert "unpaid at the end $129K: $7.24K from debtors, $122K from the fund" in out.getvalue()
    assert "$5.00K → -$125K less what it owes, low -$125K, " in out.getvalue()
    text = Page(page(run)).text.getvalue()
    assert "-$125K of $5.00K" in text
    assert "at the end: $7.24K from debtors, $122K from the fund" in text
    assert "The fund itself still owes $122K" in text


@pytest.mark.parametrize(
    ("outcome", "applied", "credited", "after", "words"),
    [
        ("taken", 0, 5, 0, "credited"),
        ("taken", 5, 5, 0, "paid the debt, the rest credited"),
        ("taken", 5, 0, 0, "paid the debt"),
        ("taken", 5, 0, 3, "paid a part of the debt"),
        ("held, then taken", 5, 0, 3, "held, then paid a part of the debt"),
        ("held, then sent back", 0, 0, 3, "held, then sent back"),
        ("refused", 0, 0, 0, "refused"),
    ],
)
def test_what_became_of_a_deposit(outcome: str, applied: int, credited: int, after: int, words: str) -> None:
    one = {
        **results()["deposits"][0],
        "outcome": outcome,
        "applied_units": applied,
        "credited_units": credited,
        "outstanding_after_usd6": after,
    }
    assert f"<td>{words}</td></tr>" in page({**results(), "deposits": [one]})


# -- what follows from the series --


def told(outside: list[int], mark: list[int], book: list[int]) -> dict[str, Any]:
    nothing = [0] * len(book)
    stages = {f"stage_usd6/{stage}": nothing for stage in ("netting", "backstop", "adl")}
    return {
        "seconds": [10 * at for at in range(len(book))],
        "markets": ["SOL-PERP"],
        "series": {
            **stages,
            "stage_usd6/book": book,
            "outside_e8/SOL": outside,
            "mark_e8/SOL": mark,
            "outstanding_usd6": [0, 5, 3, 0, 0][: len(book)],
            "fund_usd6": [9, 2, 0, 0, 0][: len(book)],
            "fund_inventory_usd6": [0, 1, 3, 1, 1][: len(book)],
            "fund_owes_usd6": [0, 0, 4, 6, 1][: len(book)],
            "fund_borrowed_usd6": [0, 0, 2, 0, 0][: len(book)],
        },
    }


def test_a_late_mark_is_told_in_seconds_and_percent() -> None:
    # The mark repeats the price of 20 seconds ago; a quarter is liquidated at second 30, the rest at 40.
    found = derived(told([100, 90, 80, 70, 60], [100, 100, 100, 90, 80], [0, 0, 0, 100, 400]))
    assert found["mark_behind_ms"] == 20_000
    # 90 against 70 is 285,714 ppm, 80 against 60 is 333,333.
    assert found["mark_off_ppm"] == (100 * 285_714 + 300 * 333_333) // 400
    assert found["most_liquidated_s"] == 40
    assert (found["fund_worth_low_usd6"], found["fund_worth_end_usd6"]) == (-5, 0)
    assert found["lacking_peak_usd6"] == 7


def test_a_mark_ahead_of_the_price_is_not_late() -> None:
    found = derived(told([100, 90, 80, 70, 60], [95, 85, 75, 65, 55], [0, 10, 20, 30, 40]))
    assert (found["mark_behind_ms"], found["mark_off_ppm"]) == (0, 0)


def test_shorts_are_liquidated_late_in_a_rise() -> None:
    found = derived(told([100, 110, 120, 130, 140], [100, 100, 110, 120, 130], [0, 0, 0, 0, 7]))
    assert (found["mark_behind_ms"], found["mark_off_ppm"]) == (10_000, 71_428)


def test_a_run_without_liquidations_is_late_by_nothing() -> None:
    found = derived(told([100, 90], [100, 100], [0, 0]))
    assert (found["mark_behind_ms"], found["mark_off_ppm"], found["most_liquidated_s"]) == (0, 0, 0)


def test_a_rise_is_the_largest_move_when_it_is() -> None:
    summary = {**results()["summary"], "deepest_fall_ppm": {"SOL": -20_000, "BTC": -70_000}}
    summary["highest_rise_ppm"] = {"SOL": 456_000, "BTC": 70_000}
    run = {**results(), "summary": summary}
    assert largest_moves(run) == {"SOL": 456_000, "BTC": -70_000}
    assert "+45.6% <small>SOL</small>" in page(run) and "BTC -7.0%" in page(run)
    out = StringIO()
    show(run, Console(file=out, width=110, highlight=False))
    assert "largest move SOL +45.6%, BTC -7.0%" in out.getvalue()
    series = {**results()["series"], "outside_e8/SOL": [3, 9, 1, *[5] * (len(results()["seconds"]) - 3)]}
    assert furthest_second({**run, "series": series}) == results()["seconds"][1]


def test_a_disagreement_is_not_hidden() -> None:
    wrong = {
        **results(),
        "checks": [{"what": "debtors", "events": 1, "room": 0, "engine": 2, "agree": False}],
    }
    out = StringIO()
    show(wrong, Console(file=out, width=110))
    assert "does not agree: debtors" in out.getvalue()
    assert '<div class="no">debtors: events say 1, the engine says 2</div>' in page(wrong)


@pytest.mark.parametrize(
    ("usd6", "words"),
    [
        (0, "$0"),
        (1_230_000, "$1.23"),
        (999_994_999, "$999"),
        (1_000_000_000, "$1.00K"),
        (-12_345_678_900, "-$12.3K"),
        (987_654_321_000_000, "$987M"),
        (2 * 10**15, "$2.00B"),
    ],
)
def test_dollars(usd6: int, words: str) -> None:
    assert dollars(usd6) == words


def test_other_words_for_numbers() -> None:
    assert [percent(ppm) for ppm in (0, 12_345, -359_999, -400)] == ["0.0%", "1.2%", "-35.9%", "0.0%"]
    assert percent(999_999, 3) == "99.999%" and percent(1_000_000, 0) == "100%"
    assert share(1, 3) == "33.3%" and share(0, 0) == "-"
    assert clock(3_605) == "60:05"
    assert units(1_500_000_000, 9) == "1.5" and units(-1_234_000_000, 6) == "-1,234"
    assert folder_of("[[0, 1]]") == "__0__1__"
    assert against_mark(2_000_000) == "the deleveraged gave up $2 against a close at mark"
    assert [made(usd6) for usd6 in (2_000_000, -2_000_000)] == ["made $2", "lost $2"]
    assert [shown("ms", ms) for ms in (0, 16_690, 1_000_050)] == ["0.0 s", "16.6 s", "1,000.0 s"]
    assert [shown("ppm", ppm) for ppm in (2_345, 145_678)] == ["0.23%", "14.5%"]
    assert against_mark(-2_000_000) == "the deleveraged gained $2 against a close at mark"


# -- in a browser --


def in_browser(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    return subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={path.parent / 'profile'}",
            "--enable-logging=stderr",
            "--virtual-time-budget=4000",
            "--window-size=1340,2400",
            *options,
            path.as_uri(),
        ],
        check=True,
        timeout=120,
        capture_output=True,
        text=True,
    )


@pytest.mark.optional_backend("chromium")
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
@pytest.mark.parametrize("which", ["report", "sweep"])
def test_a_browser_draws_every_chart_without_a_complaint(which: str, tmp_path: Path) -> None:
    html = page(results()) if which == "report" else sweep_page(results(), swept())
    path = tmp_path / "page.html"
    path.write_text(html, encoding="utf-8")
    ran = in_browser(path, "--dump-dom")
    complaints = [line for line in ran.stderr.splitlines() if "CONSOLE" in line or "Uncaught" in line]
    assert complaints == []
    hosts = re.findall(r'<div class="plot" id="([^"]+)"', html)
    assert len(hosts) > 10
    assert f'data-charts="{len(hosts)}"' in ran.stdout
    for host in hosts:
        drawn = ran.stdout.split(f'id="{host}"', 1)[1].split("</section>", 1)[0]
        assert "<canvas" in drawn, host
        assert ("u-legend" in drawn) == (which == "report"), host


@pytest.mark.optional_backend("chromium")
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
def test_legends_say_what_the_tables_say(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(page(results()), encoding="utf-8")
    drawn = in_browser(path, "--dump-dom").stdout
    summary = results()["summary"]
    for host, names in {
        "stages": ("liquidated_adl_usd6", "liquidated_backstop_usd6", "liquidated_book_usd6"),
        "debts": ("outstanding_end_usd6", "fund_owes_end_usd6", "claims_end_usd6"),
        "deposits": ("deposits_applied_usd6", "deposits_credited_usd6"),
    }.items():
        section = drawn.split(f'id="{host}"', 1)[1].split("</section>", 1)[0]
        values = re.findall(r'u-value">([^<]*)<', section)
        for name in names:
            assert dollars(summary[name]) in values, (host, name, values)
