"""Schedules of faults: written by hand or drawn from a seed, printed, and replayed.

Owns: `Step`, `FaultScript` and its text form, and the `FaultPlayer` that carries a script out slot by slot.

Rules
- Slots of a script are relative to the slot at which it starts to play, also those a fault names in `at`.
- `str(script)` and `FaultScript.parse` are inverse to each other: what a failing test printed can be
  replayed.
- The same seed and arguments give the same script on every machine.

The text form, one step a line; `#` starts a comment:

    at 3 main: throttle methods=getBlock times=2 retry_after_s=1
    at 5 for 10 b: lag slots=8
    at 9 chain: reorg slots=1 text=keep

Must not know: the ledger's inside, HTTP.
"""

from __future__ import annotations

import asyncio
import random
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from localnet.events import SlotOpened
from localnet.fault_answers import ALTERATIONS, WITHHOLD_ANSWERS
from localnet.faults import CHAIN_KINDS, MAIN_ENDPOINT, Fault, FaultKind

CHAIN = "chain"
_LINE = re.compile(r"at (?P<at>\d+)(?: for (?P<span>\d+))? (?P<endpoint>[\w.-]+): (?P<fault>.+)")


@dataclass(frozen=True, slots=True)
class Step:
    """One fault of a script: from slot `at` on, for `span` slots (0: until it has used itself up)."""

    at: int
    endpoint: str
    fault: Fault
    span: int = 0

    def __str__(self) -> str:
        span = f" for {self.span}" if self.span else ""
        return f"at {self.at}{span} {self.endpoint}: {self.fault}"


@dataclass(frozen=True, slots=True)
class FaultScript:
    """Steps in the order of their slots."""

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        for step in self.steps:
            if (step.fault.kind in CHAIN_KINDS) != (step.endpoint == CHAIN):
                raise ValueError(f"'{step}': faults of the chain, and only those, belong to '{CHAIN}'")
        object.__setattr__(self, "steps", tuple(sorted(self.steps, key=lambda step: step.at)))

    def __str__(self) -> str:
        return "\n".join(map(str, self.steps))

    @property
    def last_slot(self) -> int:
        """The slot, relative to the start, after which nothing of the script is left to do."""
        return max((step.at + step.span for step in self.steps), default=0)

    @classmethod
    def parse(cls, text: str) -> FaultScript:
        """Read the text form. Raises ValueError with the line's number on anything else."""
        steps = []
        for number, line in enumerate(text.splitlines(), start=1):
            bare = line.strip()
            if not bare or bare.startswith("#"):
                continue
            match = _LINE.fullmatch(bare)
            try:
                if match is None:
                    raise ValueError(f"not a step: {bare!r}")
                fault = parse_fault(match["fault"])
                steps.append(Step(int(match["at"]), match["endpoint"], fault, int(match["span"] or 0)))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
        return cls(tuple(steps))

    @classmethod
    def random(
        cls,
        seed: int,
        *,
        slots: int = 100,
        faults: int = 20,
        endpoints: Sequence[str] = (MAIN_ENDPOINT,),
        kinds: Sequence[FaultKind] = (),
        reorg_depth: int = 1,
    ) -> FaultScript:
        """Draw `faults` faults over `slots` slots from a seed; `kinds` limits them (none given: all)."""
        # a schedule must be repeatable, not unpredictable
        source = random.Random(seed)  # noqa: S311
        drawn = []
        for _ in range(faults):
            kind = source.choice(tuple(kinds) or tuple(_DRAWS))
            at = source.randrange(slots)
            endpoint = CHAIN if kind in CHAIN_KINDS else source.choice(tuple(endpoints))
            fault, span = _DRAWS[kind](source, at, reorg_depth)
            drawn.append(Step(at, endpoint, fault, span))
        return cls(tuple(drawn))


def parse_fault(text: str) -> Fault:
    """Read a fault as `str(fault)` prints it. Raises ValueError on an unknown kind or field."""
    kind, *words = shlex.split(text) or [""]
    if kind not in {member.value for member in FaultKind}:
        raise ValueError(f"unknown fault {kind!r}")
    fields: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name == "kind" or name not in Fault.__dataclass_fields__:
            raise ValueError(f"unknown field {word!r} of fault {kind!r}")
        if name == "methods":
            fields[name] = tuple(value.split(","))
        elif name == "at":
            fields[name] = tuple(int(slot) for slot in value.split(","))
        else:
            fields[name] = value if name == "text" else int(value)
    return replace(Fault(FaultKind(kind)), **fields)


_Draw = Callable[[random.Random, int, int], tuple[Fault, int]]


def _some_times(kind: FaultKind, **fields: int) -> _Draw:
    """A fault that meets a few requests and is then used up."""

    def draw(source: random.Random, at: int, depth: int) -> tuple[Fault, int]:
        return replace(Fault(kind, times=source.randint(1, 4)), **fields), 0  # type: ignore[arg-type]

    return draw


def _some_slots(kind: FaultKind, low: int, high: int) -> _Draw:
    """A fault of heights that holds for a few slots."""

    def draw(source: random.Random, at: int, depth: int) -> tuple[Fault, int]:
        return Fault(kind, slots=source.randint(low, high)), source.randint(2, 12)

    return draw


def _of_blocks(kind: FaultKind, texts: Sequence[str] = ("",)) -> _Draw:
    """A fault of one or two blocks around the slot at which it starts."""

    def draw(source: random.Random, at: int, depth: int) -> tuple[Fault, int]:
        count = 2 if kind in (FaultKind.SWAP, FaultKind.REPEAT) else 1
        near = tuple(source.sample(range(at, at + 6), count))
        return Fault(kind, at=near, text=source.choice(sorted(texts))), source.randint(2, 12)

    return draw


def _of_chain(kind: FaultKind) -> _Draw:
    def draw(source: random.Random, at: int, depth: int) -> tuple[Fault, int]:
        if kind is FaultKind.SKIP:
            return Fault(kind, slots=source.randint(1, 5)), 0
        return Fault(kind, slots=source.randint(1, depth), text=source.choice(["drop", "keep"])), 0

    return draw


_DRAWS: dict[FaultKind, _Draw] = {
    FaultKind.THROTTLE: _some_times(FaultKind.THROTTLE, retry_after_s=0),
    FaultKind.HTML: _some_times(FaultKind.HTML, status=502),
    FaultKind.EMPTY: _some_times(FaultKind.EMPTY),
    FaultKind.DROP: _some_times(FaultKind.DROP),
    FaultKind.STALL: _some_times(FaultKind.STALL, milliseconds=50),
    FaultKind.LOSE_ANSWER: _some_times(FaultKind.LOSE_ANSWER),
    FaultKind.CUT: _some_times(FaultKind.CUT),
    FaultKind.TRUNCATE: _some_times(FaultKind.TRUNCATE),
    FaultKind.WRONG_ID: _some_times(FaultKind.WRONG_ID),
    FaultKind.GARBLE: _some_times(FaultKind.GARBLE),
    FaultKind.SWALLOW: _some_times(FaultKind.SWALLOW),
    FaultKind.LAG: _some_slots(FaultKind.LAG, 1, 20),
    FaultKind.LIE_HEIGHT: _some_slots(FaultKind.LIE_HEIGHT, -50, 500),
    FaultKind.WITHHOLD: _of_blocks(FaultKind.WITHHOLD, tuple(WITHHOLD_ANSWERS)),
    FaultKind.SWAP: _of_blocks(FaultKind.SWAP),
    FaultKind.REPEAT: _of_blocks(FaultKind.REPEAT),
    FaultKind.ALTER: _of_blocks(FaultKind.ALTER, tuple(ALTERATIONS)),
    FaultKind.WS_DROP: lambda source, at, depth: (Fault(FaultKind.WS_DROP), 0),
    FaultKind.WS_MUTE: lambda source, at, depth: (Fault(FaultKind.WS_MUTE), source.randint(2, 12)),
    FaultKind.SKIP: _of_chain(FaultKind.SKIP),
    FaultKind.REORG: _of_chain(FaultKind.REORG),
}


class _Stage(Protocol):
    def strike(self, fault: Fault, endpoint: str = MAIN_ENDPOINT) -> None: ...
    def lift(self, fault: Fault, endpoint: str = MAIN_ENDPOINT) -> None: ...


class FaultPlayer:
    """Carries out a script. Tell it every slot with `reach`; `struck` and `refused` say what it did.

    Faults of endpoints strike at once. Those of the chain wait in `due` for `strike_chain`, because the
    ledger must not be changed by the very event that announces a slot.
    """

    def __init__(self, script: FaultScript, stage: _Stage, start_slot: int) -> None:
        self.script = script
        self.struck: list[Step] = []
        self.refused: list[tuple[Step, str]] = []
        self.due: list[Step] = []
        self._stage = stage
        self._start = start_slot
        self._waiting = list(script.steps)
        self._holding: list[tuple[int, Fault, str]] = []

    @property
    def done(self) -> bool:
        """Whether every step has been struck and every fault of a span lifted."""
        return not self._waiting and not self._holding and not self.due

    def reach(self, slot: int) -> None:
        """Strike and lift all that is due at an absolute slot, but for faults of the chain."""
        now = slot - self._start
        for held in [held for held in self._holding if held[0] <= now]:
            # In this order: `done` is asked from other threads, and promises that every fault is lifted.
            self._stage.lift(held[1], held[2])
            self._holding.remove(held)
        while self._waiting and self._waiting[0].at <= now:
            step = self._waiting[0]
            if step.endpoint == CHAIN:
                self.due.append(step)
            else:
                self._strike(step)
            self._waiting.pop(0)  # last, for the same reason

    def strike_chain(self) -> None:
        """Strike the faults of the chain that are due, also those that fall due meanwhile."""
        while self.due:
            self._strike(self.due.pop(0))

    def _strike(self, step: Step) -> None:
        """Strike one step. A reorganization that the chain refuses is recorded."""
        fault = replace(step.fault, at=tuple(slot + self._start for slot in step.fault.at))
        self.struck.append(step)  # before it strikes: a skipped slot may be another step's
        try:
            self._stage.strike(fault, MAIN_ENDPOINT if step.endpoint == CHAIN else step.endpoint)
        except ValueError as error:
            self.struck.remove(step)
            self.refused.append((step, str(error)))
            return
        if step.span:
            self._holding.append((step.at + step.span, fault, step.endpoint))


class _Ledger(Protocol):
    def slot_at(self, commitment: str) -> int: ...
    def subscribe(self, listener: Callable[[Any], None]) -> Callable[[], None]: ...


class _Validator(Protocol):
    @property
    def ledger(self) -> _Ledger: ...
    def call(self, function: Callable[..., Any], *args: object) -> Any: ...


def play(script: FaultScript, stage: _Stage, validator: _Validator) -> FaultPlayer:
    """Play a script on a validator from its current slot on; it follows the clock by itself.

    Faults of the chain strike when the server's loop is free again after the slot opened: with slots advanced
    by hand, advance one at a time.
    """

    def start() -> FaultPlayer:
        player = FaultPlayer(script, stage, validator.ledger.slot_at("processed"))

        def listener(event: object) -> None:
            if isinstance(event, SlotOpened):
                idle = not player.due
                player.reach(event.slot)
                if player.due and idle:
                    asyncio.get_running_loop().call_soon(player.strike_chain)
                if player.done:
                    unsubscribe()

        unsubscribe = validator.ledger.subscribe(listener)
        player.reach(validator.ledger.slot_at("processed"))
        player.strike_chain()
        return player

    played: FaultPlayer = validator.call(start)
    return played
