"""The summary says what the bundle says; the page is self-contained and hides nothing."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from solvency import page, summary
from solvency.model import Balances
from tests.solvency import forge


def latest() -> summary.Summary:
    return summary.summarize(forge.honest()[0].header)


def test_the_summary_is_the_header() -> None:
    header, shown = forge.honest()[0].header, latest()
    assert shown.bundle_hash == header.hash.hex()
    assert [line.rate_ppm for line in shown.lines] == [line.rate_ppm for line in header.lines]
    assert shown.outstanding_negative_equity_usd6 == 60_000_000
    assert shown.insurance_fund_usd6 == 25_000_000
    assert shown.covered
    # 1300 USDC, 30 SOL at 150 and 0.6 BTC at 100,000 dollars.
    assert shown.holdings_usd6 == (1300 + 4500 + 60_000) * 10**6


def test_the_table_writes_every_unit() -> None:
    rows = summary.table(latest())
    assert rows[1] == (
        "USDC", "1,300.000000", "1,322.000009", "100.000000", "1,202.000009", "25.000000", "108.15%",
    )  # fmt: skip
    assert [row[0] for row in rows] == ["asset", "USDC", "SOL", "BTC", "total"]
    assert all(len(row) == 7 for row in rows)
    assert dict(summary.awkward_rows(latest()))["outstanding negative equity"] == "$60.00"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (summary.amount_text(-1, 9), "-0.000000001"),
        (summary.amount_text(2**64 - 1, 0), "18,446,744,073,709,551,615"),
        (summary.usd_text(-1), "-$0.01"),
        (summary.usd_text(1_999_999), "$1.99"),
        (summary.rate_text(999_999), "99.99%"),
        (summary.rate_text(1_000_000), "100.00%"),
        (summary.rate_text(None), "nothing owed"),
        (summary.time_text(1_700_000_000 * 10**9), "2023-11-14 22:13:20 UTC"),
    ],
)
def test_numbers_are_written_exactly_or_downwards(text: str, expected: str) -> None:
    assert text == expected


def test_json_keeps_every_digit() -> None:
    decoded = json.loads(summary.to_json(latest()))
    assert decoded["lines"][0]["holdings_units"] == "1300000000"
    assert decoded["covered"] is True
    assert decoded["total_rate_ppm"] == str(latest().total_rate_ppm)


class Outside(HTMLParser):
    """Collect everything that a browser would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, str | None]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "link", "img", "object", "embed", "base", "form"):
            self.found.append((tag, "", None))
        for name, value in attributes:
            if name in ("src", "href", "action", "data") or name.startswith("on"):
                self.found.append((tag, name, value))


def test_the_page_loads_nothing_and_shows_the_awkward_part() -> None:
    shown = page.render([latest(), summary.summarize(forge.second()[0].header)])
    outside = Outside()
    outside.feed(shown)
    assert outside.found == []
    assert "url(" not in shown
    assert "http://" not in shown
    assert "https://" not in shown
    for text in ("$60.00", "outstanding negative equity", "What this does not prove", "1 − (1 − q)^k"):
        assert text in shown
    for drawing in re.findall(r"<svg.*?</svg>", shown):
        ElementTree.fromstring(drawing)  # noqa: S314 - our own page
    assert shown.count("<svg") == 2


def test_the_page_says_so_when_holdings_do_not_cover() -> None:
    poor = forge.prove(forge.snapshot(holdings=forge.HOLDINGS[1:]))
    shown = page.render([summary.summarize(poor.header)])
    assert "Holdings do not cover what is owed in USDC." in shown
    assert "Holdings cover what is owed in every asset." not in shown


def test_the_page_escapes_what_it_is_told() -> None:
    assert "<script>" not in page.render([latest()], exchange="<script>alert(1)</script>")
    with pytest.raises(ValueError, match="at least one epoch"):
        page.render([])


def test_a_page_without_anything_owed_has_no_rate_chart() -> None:
    empty = forge.prove(forge.snapshot(accounts=(), open_accounts=(Balances("insurance_fund"),), holdings=()))
    shown = page.render([summary.summarize(empty.header)])
    assert "<svg" not in shown
    assert "nothing owed" in shown
