"""Proof that the auditor notices a lie: in a figure, verdict, named amount, counter or parameter."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import Any

import pytest

from engine import commands as c
from engine import events as e
from engine.apply import apply
from engine.outcome import Accepted, Outcome, Rejected
from engine.params import AssetParams, LendingParams, MarketParams, Params
from engine.rejects import RejectReason as R
from engine.stages import stage_shares
from engine.state import new_state

from .auditor import AuditFailed, Auditor
from .books import Books
from .crash import SmallCrash
from .simulation import Simulation
from .test_simulation import AUDITED_EVENTS

STEPS = 1_000
# Lies are told until none is new; the first runs have most of what is rare.
CRASHES = (3, 9, 2, 4, 30)
SEEDS = (46, 42, 51, 50, 45, 13, *range(1, 25))


@dataclass(frozen=True, slots=True)
class Story:
    """The commands of a run and the engine's answers."""

    params: Params
    commands: list[c.Command]
    outcomes: list[Outcome]

    def copy(self, auditor: Auditor) -> Auditor:
        """Copy an auditor of this story; what is frozen is shared."""
        frozen = [self.params, *self.params.assets, *self.params.markets, *self.commands, *self.outcomes]
        return copy.deepcopy(auditor, {id(one): one for one in frozen})

    def assert_noticed(self, before: Auditor, command: c.Command, lie: Outcome) -> None:
        """A lie must be refused; the auditor stays as it is."""
        with pytest.raises(AuditFailed):
            self.copy(before).judge(command, lie)
            raise AssertionError(f"{lie} was believed")


def _stories() -> Iterator[Story]:
    for seed in CRASHES:
        crash = SmallCrash(seed)
        yield _told(crash.simulation, crash.commands())
    for seed in SEEDS:
        simulation = Simulation(seed)
        simulation.generator.strange_percent = 8
        yield _told(simulation, simulation.commands(STEPS))


def _told(simulation: Simulation, commands: Iterable[c.Command]) -> Story:
    outcomes = [simulation.run.apply(command) for command in commands]
    return Story(simulation.run.params, simulation.run.commands, outcomes)


# -- figures


def _one_more(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    return value[:-1] if value else (("SOL", 1),)


def _lies_about(truth: Accepted, kind: type) -> Iterator[Accepted]:
    """Drop an event, double it, falsify each of its fields."""
    place, event = next((at, one) for at, one in enumerate(truth.events) if type(one) is kind)
    head, tail = truth.events[:place], truth.events[place + 1 :]
    yield Accepted((*head, *tail))
    yield Accepted((*head, event, event, *tail))
    for one in fields(event):
        change: dict[str, Any] = {one.name: _one_more(getattr(event, one.name))}
        yield Accepted((*head, replace(event, **change), *tail))


def _lies_about_refusal(refused: Rejected) -> Iterator[Outcome]:
    """Another reason, none, another amount or time."""
    yield replace(
        refused, reason=R.UNKNOWN_DEPOSIT if refused.reason is not R.UNKNOWN_DEPOSIT else R.STALE_PRICE
    )
    yield Accepted(())
    named, due = refused.would_pass_units, refused.retry_at_ns
    yield replace(refused, would_pass_units=1 if named is None else named + 1)
    yield replace(refused, retry_at_ns=1 if due is None else due + 1)
    if named is not None:
        yield replace(refused, would_pass_units=None)
        yield replace(refused, would_pass_units=named - 1)


def _swapped(truth: Accepted) -> Accepted | None:
    """Two neighbours in the wrong order."""
    events = truth.events
    for place, (one, other) in enumerate(pairwise(events)):
        if one != other:
            return Accepted((*events[:place], other, one, *events[place + 2 :]))
    return None


@dataclass(slots=True)
class Liar:
    """Lies once about each kind of event, and about each verdict on each kind of command."""

    told: set[object] = field(default_factory=set)

    def lies(self, command: c.Command, truth: Outcome) -> Iterator[Outcome]:
        """Give the lies that were not told yet."""
        if not truth.recorded:
            if self._is_new((type(command), "without a trace")):
                yield replace(truth, recorded=True)
                yield Rejected(R.STALE_PRICE, recorded=False)
        elif isinstance(truth, Rejected):
            if self._is_new((type(command), truth.reason, truth.would_pass_units is None)):
                yield from _lies_about_refusal(truth)
        else:
            if self._is_new(type(command)):
                yield Rejected(R.STALE_PRICE)
            swapped = _swapped(truth)
            if swapped is not None and self._is_new((type(command), "order")):
                yield swapped
            for kind in dict.fromkeys(type(event) for event in truth.events):
                if self._is_new(kind):
                    yield from _lies_about(truth, kind)

    def _is_new(self, subject: object) -> bool:
        is_new = subject not in self.told
        self.told.add(subject)
        return is_new


# -- an engine with one parameter changed


def _others(value: int) -> list[int]:
    """Give values far from a parameter's."""
    return [1 - value] if value in (0, 1) else [value // 50, value * 20]


def _mutants(params: Params) -> list[tuple[str, Params]]:
    """Change one parameter at a time, those of all assets or markets together; with its name."""
    made: list[tuple[str, Params]] = []
    change: dict[str, Any]
    for one in fields(Params):
        if isinstance(value := getattr(params, one.name), int):
            for other in _others(value):
                change = {one.name: other}
                made.append((one.name, replace(params, **change)))
    sol = params.assets[1]
    for one in fields(AssetParams):
        if isinstance(value := getattr(sol, one.name), int) and one.name != "decimals":
            for other in _others(value):
                change = {one.name: other}
                assets = (params.assets[0], replace(sol, **change), *params.assets[2:])
                made.append((f"asset.{one.name}", replace(params, assets=assets)))
    for one in fields(LendingParams):
        for place, _ in enumerate(_others(getattr(sol.lending, one.name))):
            assets = tuple(_with_lending(asset, one.name, place) for asset in params.assets)
            made.append((f"lending.{one.name}", replace(params, assets=assets)))
    for one in fields(MarketParams):
        if isinstance(value := getattr(params.markets[0], one.name), int):
            for other in _others(value):
                change = {one.name: other}
                markets = tuple(replace(market, **change) for market in params.markets)
                made.append((f"market.{one.name}", replace(params, markets=markets)))
    return made


def _with_lending(asset: AssetParams, name: str, place: int) -> AssetParams:
    # A limit that is ever met is far below the one of the parameters.
    value = getattr(asset.lending, name) // (10_000 if name == "borrow_limit_units" else 1)
    others = _others(value)
    change: dict[str, Any] = {name: others[min(place, len(others) - 1)]}
    return replace(asset, lending=replace(asset.lending, **change))


def _first_lie(story: Story, params: Params) -> tuple[int, Outcome] | None:
    """Find the first answer that an engine with other parameters gives otherwise."""
    state = new_state(params)
    for place, (command, truth) in enumerate(zip(story.commands, story.outcomes, strict=True)):
        found = apply(state, command)
        if isinstance(found, Rejected) and isinstance(truth, Rejected):
            found = replace(found, detail=truth.detail)
        if found != truth or found.recorded != truth.recorded:
            return place, found
    return None


def test_the_auditor_notices_every_lie() -> None:
    """Each field of each kind of event off by one, each verdict another one, each named amount one off; and
    the first answer of an engine of which one parameter is another, for each parameter.
    """
    liar, noticed, every = Liar(), set[str](), set[str]()
    for story in _stories():
        planned: dict[int, list[Outcome]] = {}
        for name, params in _mutants(story.params):
            every.add(name)
            found = _first_lie(story, params) if name not in noticed else None
            if found is not None:
                noticed.add(name)
                planned.setdefault(found[0], []).append(found[1])
        auditor = Auditor(story.params)
        for place, (command, truth) in enumerate(zip(story.commands, story.outcomes, strict=True)):
            lies = [*planned.get(place, ()), *liar.lies(command, truth)]
            before = story.copy(auditor) if lies else auditor
            auditor.judge(command, truth)
            for lie in lies:
                story.assert_noticed(before, command, lie)
        if liar.told >= AUDITED_EVENTS and every == noticed:
            return
    assert liar.told >= AUDITED_EVENTS, AUDITED_EVENTS - liar.told
    assert every == noticed


def test_r25_the_auditor_notices_a_counter_that_is_off_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each figure of each stage, one more than it is, after a crash that used them all."""
    crash = SmallCrash(CRASHES[0])
    crash.run()
    true = stage_shares(crash.simulation.run.state, crash.simulation.run.state.last_time_ns)
    assert sum(one.fills for one in true) > 5
    for place, row in enumerate(true):
        for one in fields(row):
            change: dict[str, Any] = {one.name: _one_more(getattr(row, one.name))}
            lie = (*true[:place], replace(row, **change), *true[place + 1 :])
            monkeypatch.setattr("tests.sim.simulation.stage_shares", lambda state, now_ns, lie=lie: lie)
            with pytest.raises(AuditFailed, match="R25"):
                crash.simulation.check_stages()


def test_r5_the_books_refuse_an_event_that_contradicts_itself() -> None:
    """Events that carry a redundant figure are checked against it when folded."""
    wrong: list[Callable[[Books], e.Event]] = [
        lambda books: e.LossCollected("1/0", 5, 7),
        lambda books: e.DebtCovered("1/0", 5, 7),
        lambda books: e.ClaimPaid("1/0", 5, 7),
        lambda books: e.LossSocialized("1/0", 5, (("2/0", 4),)),
    ]
    for make in wrong:
        books = Books()
        with pytest.raises(AssertionError):
            books.post(make(books))
