"""Prices from a file: exact decimals in, nothing on doubt."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from daemon.inbox import Prices, price_commands, read_prices, update_prices
from engine.commands import UpdatePrices, UpdateQuotes


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "prices.json"
    path.write_text(text)
    return path


def test_decimal_prices_become_exact_integers_in_order(tmp_path: Path) -> None:
    path = written(
        tmp_path, '{"mark": {"SOL-PERP": "150.3"}, "index": {"SOL": "150.25", "BTC": "100000.00000001"}}'
    )
    command = update_prices(read_prices(path, time.time_ns()), 5)
    assert command.index_prices == (("BTC", 10_000_000_000_001), ("SOL", 15_025_000_000))
    assert command.mark_prices == (("SOL-PERP", 15_030_000_000),)
    assert (command.id, command.time_ns) == ("prices:5", 5)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Input data was truncated"),
        ('{"index": {"SOL": 150.25}}', "Expected `str`, got `float`"),
        ('{"index": {"SOL": "150.123456789"}}', "has 9 decimals, the asset has 8"),
        ('{"index": {"SOL": "NaN"}}', "is not a plain decimal number"),
        ('{"index": {"SOL": "-1"}}', "is negative"),
        ('{"indexes": {}}', "unknown field `indexes`"),
        (
            '{"quotes": {"SOL": [{"feed": "a", "source": "x", "price": "1e3"}]}}',
            "quotes[0].price: amount '1e3' is not a plain decimal number",
        ),
        ('{"quotes": {"SOL": [{"feed": "a", "price": "1"}]}}', "missing required field `source`"),
    ],
)
def test_a_file_that_is_not_prices_sends_nothing(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read_prices(written(tmp_path, text), time.time_ns())
    assert why in str(caught.value)


def test_r13_quotes_in_a_file_become_one_command_an_asset(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '{"quotes": {"SOL": [{"feed": "a", "source": "x", "price": "150.25"},'
        ' {"feed": "a", "source": "y", "price": "150.5", "time_ns": 7}],'
        ' "BTC": [{"feed": "a", "source": "x", "price": "100000"}]}}',
    )
    now_ns = time.time_ns()
    os.utime(path, ns=(now_ns, now_ns - 5))
    bitcoin, sol = (build(9) for build in price_commands(read_prices(path, now_ns)))
    assert bitcoin == UpdateQuotes("quotes:BTC:9", 9, "BTC", (("a", "x", 10**13, now_ns - 5),))
    # A quote without a time is as old as the file.
    assert sol == UpdateQuotes(
        "quotes:SOL:9", 9, "SOL", (("a", "x", 15_025_000_000, now_ns - 5), ("a", "y", 15_050_000_000, 7))
    )


def test_a_file_may_have_both_and_prices_come_first(tmp_path: Path) -> None:
    path = written(tmp_path, '{"index": {"SOL": "150"}, "quotes": {"BTC": []}}')
    commands = [build(9) for build in price_commands(read_prices(path, time.time_ns()))]
    assert [type(one) for one in commands] == [UpdatePrices, UpdateQuotes]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_prices(tmp_path / "none.json", 0)


def test_r13_a_file_whose_writer_has_died_is_silence(tmp_path: Path) -> None:
    path = written(tmp_path, '{"index": {"SOL": "150"}}')
    now_ns = time.time_ns()
    os.utime(path, ns=(now_ns, now_ns - 60_000_000_000))
    assert read_prices(path, now_ns) == Prices(index={"SOL": "150"})
    os.utime(path, ns=(now_ns, now_ns - 60_000_000_001))
    with pytest.raises(ValueError, match="has not been written for 60 s"):
        read_prices(path, now_ns)
