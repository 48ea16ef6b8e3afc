"""R12: the book by itself: price-time priority, depth, and a plain list that must agree with it."""

from __future__ import annotations

import random
import sys

from hypothesis import given
from hypothesis import strategies as st

from engine.book import Book, Order


def order(number: int, is_buy: bool, price: int, units: int = 10, owner: str = "1/0") -> Order:
    return Order(number, owner, is_buy, price, units, False, "")


def filled(*orders: Order) -> Book:
    book = Book()
    for one in orders:
        book.rest(one)
    return book


def test_r12_best_price_first_then_oldest_first() -> None:
    book = filled(order(1, True, 99), order(2, True, 100), order(3, True, 100), order(4, True, 98))
    assert [one.order_id for one in book.bids.best_first()] == [2, 3, 1, 4]
    asks = filled(order(1, False, 99), order(2, False, 100), order(3, False, 99))
    assert [one.order_id for one in asks.asks.best_first()] == [1, 3, 2]
    assert (book.best_bid_e8(), book.best_ask_e8()) == (100, None)
    assert (asks.best_bid_e8(), asks.best_ask_e8()) == (None, 99)


def test_r12_an_order_filled_in_part_keeps_its_place() -> None:
    first, second = order(1, True, 100), order(2, True, 100)
    book = filled(first, second)
    book.reduce(first, 4)
    assert [(one.order_id, one.units) for one in book.bids.best_first()] == [(1, 6), (2, 10)]
    book.reduce(first, 6)
    assert [one.order_id for one in book.bids.best_first()] == [2]
    assert list(book.orders) == [2] and list(book.by_owner["1/0"]) == [2]


def test_r12_depth_is_summed_by_price_best_first() -> None:
    book = filled(*[order(n, n % 2 == 0, 100 - n if n % 2 == 0 else 100 + n, n) for n in range(1, 9)])
    assert book.depth(True, 2) == [(98, 2), (96, 4)]
    assert book.depth(False, 9) == [(101, 1), (103, 3), (105, 5), (107, 7)]
    assert book.depth(True, 0) == []
    assert (book.units_inside(True, 96), book.units_inside(False, 105)) == (6, 9)
    assert (book.units_inside(True, 99), book.units_inside(False, 1_000)) == (0, 16)


def test_r12_a_client_order_id_is_free_again_when_its_order_is_gone() -> None:
    one = Order(1, "1/0", True, 100, 5, False, "mine")
    book = filled(one)
    assert book.by_client_id == {("1/0", "mine"): 1}
    book.remove(one)
    assert (book.by_client_id, book.by_owner, book.orders) == ({}, {}, {})
    assert (book.bids.keys, book.bids.levels) == ([], {})


def test_r12_a_level_that_was_eaten_from_the_front_is_small_again() -> None:
    """10,000 orders of one price, all but ten traded: finding the oldest must not walk over the others."""
    orders = [order(number, True, 100) for number in range(1, 10_001)]
    book = filled(*orders)
    for one in orders[:-10]:
        book.reduce(one, one.units)
    level = book.bids.levels[100]
    assert [one.order_id for one in book.bids.best_first()] == list(range(9_991, 10_001))
    assert (level.units, level.gone <= 64 + len(level.orders)) == (100, True)
    assert sys.getsizeof(level.orders) <= sys.getsizeof(dict.fromkeys(range(128)))


@given(st.integers(0, 10**9))
def test_r12_a_plain_list_agrees_after_any_steps(seed: int) -> None:
    """The list is sorted anew for every question; the book never sorts."""
    choose = random.Random(seed)
    book, plain = Book(), []
    for number in range(1, 60):
        if plain and choose.random() < 0.4:
            victim = choose.choice(plain)
            if choose.random() < 0.5:
                book.remove(victim)
                plain.remove(victim)
            else:
                units = choose.randint(1, victim.units)
                book.reduce(victim, units)
                plain = [one for one in plain if one.units]
            continue
        made = order(number, choose.random() < 0.5, choose.randint(90, 110), choose.randint(1, 9))
        book.rest(made)
        plain.append(made)
    for is_buy, side in ((True, book.bids), (False, book.asks)):
        sign = -1 if is_buy else 1
        expected = sorted(
            [one for one in plain if one.is_buy == is_buy],
            key=lambda one: (sign * one.price_e8, one.order_id),
        )
        assert list(side.best_first()) == expected
        shown = dict(book.depth(is_buy, 99))
        assert shown == {
            price: sum([one.units for one in expected if one.price_e8 == price]) for price in shown
        }
        assert book.units_inside(is_buy, 100) == sum(
            [one.units for one in expected if sign * one.price_e8 <= sign * 100]
        )
        assert sum(shown.values()) == sum([one.units for one in expected])
    assert [one.order_id for one in book.in_priority()] == [
        one.order_id for side in (book.bids, book.asks) for one in side.best_first()
    ]
