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

from daemon.crash.format import against_mark, clock, dollars, percent, share, units
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
