"""Faults of endpoints and of the chain: what no validator offers, for tests of everything that reads one.

Owns: the value `Fault`, the faults armed at one endpoint (`EndpointFaults`) and those of a whole validator
(`Faults`). A fault is data, so a schedule of faults can be printed and replayed (`localnet.fault_script`).

Rules
- An endpoint's faults see only JSON-RPC: a raw request body and a function that answers it. They work the
  same in front of the embedded ledger and of any other validator. What the chain itself does (skipped slots,
  reorganizations) is asked of the ledger.
- Faults apply in the order in which they were armed. A fault with `times` disarms itself after that many
  matching requests; `skip` lets that many pass first. Without `times` it stays until `clear()` or
  `remove(fault)`.
- Every fault that fires is written to `log`, so that a test can show that it did.

Must not know: the ledger's inside, the SVM, sockets other than the request being answered.
"""

from __future__ import annotations

import enum
import shlex
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from aiohttp import web

from localnet import fault_http
from localnet.fault_answers import ALTERATIONS, WITHHOLD_ANSWERS, Call, calls_of, error_message, meets

if TYPE_CHECKING:
    from localnet.fault_script import FaultPlayer, FaultScript

Handle = Callable[[bytes], Awaitable[bytes]]
"""Answers a raw JSON-RPC request body (single or batch) with the raw response body."""
Alteration = Callable[[Any], object]
"""Changes the JSON of a block in place."""
MAIN_ENDPOINT = "main"


class FaultKind(enum.Enum):
    """What goes wrong with the transport, with what an answer says, with subscriptions, with the chain."""

    THROTTLE = "throttle"  # 429 with Retry-After; the request is not executed
    HTML = "html"  # a proxy's error page, with `status`
    EMPTY = "empty"  # 200 and no body
    ERROR = "error"  # a JSON-RPC error of `code` and `text`
    DROP = "drop"  # the connection is aborted before the request is executed
    STALL = "stall"  # the answer comes `milliseconds` late
    LOSE_ANSWER = "lose_answer"  # the request is executed, then the connection is aborted
    CUT = "cut"  # half of the announced body, then the connection is aborted
    TRUNCATE = "truncate"  # a complete HTTP answer with half of the JSON
    OVERSIZE = "oversize"  # a true answer padded to `size` bytes, compressed where the client accepts it
    WRONG_ID = "wrong_id"  # the answer to another request's id
    GARBLE = "garble"  # bytes that are not UTF-8, so not JSON

    SWALLOW = "swallow"  # takes transactions, answers their signature and loses them
    LAG = "lag"  # answers as of `slots` ago
    LIE_HEIGHT = "lie_height"  # claims heights `slots` away from the truth; blocks stay true
    WITHHOLD = "withhold"  # has no block at `at`: `text` says how it answers
    SWAP = "swap"  # the blocks at the two slots `at` stand in for each other
    REPEAT = "repeat"  # answers the block of slot `at[1]` for slot `at[0]`
    ALTER = "alter"  # changes what blocks say: `text` names the alteration

    WS_DROP = "ws_drop"  # every subscription connection is closed
    WS_MUTE = "ws_mute"  # subscriptions stay open and silent

    SKIP = "skip_slots"  # the next `slots` slots have no block
    REORG = "reorg"  # the last `slots` blocks are abandoned for a fork


CHAIN_KINDS = frozenset({FaultKind.SKIP, FaultKind.REORG})
SOCKET_KINDS = frozenset({FaultKind.WS_DROP, FaultKind.WS_MUTE})


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its kind, the requests it meets and its measure. Equal values are the same fault."""

    kind: FaultKind
    methods: tuple[str, ...] = ()  # empty: every method
    times: int = 0  # 0: until removed
    skip: int = 0  # matching requests that pass first
    slots: int = 0
    at: tuple[int, ...] = ()
    milliseconds: int = 0
    retry_after_s: int = 0
    status: int = 200
    code: int = 0
    size: int = 0
    text: str = ""

    def __str__(self) -> str:
        return " ".join([self.kind.value, *_words(self)])


def _words(fault: Fault) -> list[str]:
    """The fields that differ from their default, as `name=value`, in the order of their declaration."""
    words = []
    default = Fault(fault.kind)
    for name in Fault.__dataclass_fields__:
        value = getattr(fault, name)
        if name == "kind" or value == getattr(default, name):
            continue
        printed = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        words.append(f"{name}={shlex.quote(printed)}")
    return words


@dataclass(frozen=True, slots=True)
class Fired:
    """A fault that met a request: the number of the request at its endpoint, its methods, and the fault."""

    request: int
    methods: tuple[str, ...]
    fault: Fault


@dataclass(slots=True)
class _Armed:
    fault: Fault
    passed: int = 0
    fired: int = 0
    custom: Alteration | None = field(default=None, compare=False)


class EndpointFaults:
    """The faults of one endpoint. Methods that arm a fault return it; they may be called from any thread."""

    def __init__(self, name: str = MAIN_ENDPOINT) -> None:
        self.name = name
        self.log: list[Fired] = []
        self.requests = 0
        self.gzip = False
        self._armed: tuple[_Armed, ...] = ()
        self._lock = threading.Lock()
        self._socket_watchers: list[Callable[[], None]] = []

    def arm(self, fault: Fault, *, custom: Alteration | None = None) -> Fault:
        """Arm any endpoint fault. Raises ValueError on a fault of the chain and on an unknown `text`."""
        if fault.kind in CHAIN_KINDS:
            raise ValueError(f"{fault.kind.value} is a fault of the chain, not of an endpoint")
        if fault.kind is FaultKind.ALTER and custom is None and fault.text not in ALTERATIONS:
            raise ValueError(f"unknown alteration {fault.text!r}; known: {', '.join(sorted(ALTERATIONS))}")
        if fault.kind is FaultKind.WITHHOLD and fault.text not in WITHHOLD_ANSWERS:
            raise ValueError(f"unknown answer {fault.text!r}; known: {', '.join(sorted(WITHHOLD_ANSWERS))}")
        with self._lock:
            self._armed += (_Armed(fault, custom=custom),)
        if fault.kind in SOCKET_KINDS:
            for watcher in list(self._socket_watchers):
                watcher()
        return fault

    def remove(self, fault: Fault) -> None:
        """Disarm a fault; one that is no longer armed is no error, it may have used itself up."""
        with self._lock:
            self._armed = tuple(armed for armed in self._armed if armed.fault != fault)

    def clear(self) -> None:
        """Disarm every fault of this endpoint. The log stays."""
        with self._lock:
            self._armed = ()

    @property
    def armed(self) -> tuple[Fault, ...]:
        """The faults in force, in the order in which they were armed."""
        return tuple(armed.fault for armed in self._armed)

    def throttle(
        self, *, retry_after_s: int = 1, times: int = 0, methods: Iterable[str] = (), skip: int = 0
    ) -> Fault:
        """Refuse with HTTP 429 and Retry-After, as rate-limited providers do."""
        fault = Fault(
            FaultKind.THROTTLE, tuple(methods), times, skip, retry_after_s=retry_after_s, status=429
        )
        return self.arm(fault)

    def html(self, *, status: int = 502, times: int = 0, methods: Iterable[str] = (), skip: int = 0) -> Fault:
        """Answer a proxy's error page instead of JSON."""
        return self.arm(Fault(FaultKind.HTML, tuple(methods), times, skip, status=status))

    def empty(self, *, times: int = 0, methods: Iterable[str] = (), skip: int = 0) -> Fault:
        """Answer 200 with an empty body."""
        return self.arm(Fault(FaultKind.EMPTY, tuple(methods), times, skip))

    def error(
        self, code: int, text: str = "", *, times: int = 0, methods: Iterable[str] = (), skip: int = 0
    ) -> Fault:
        """Answer a JSON-RPC error; without `text` the validator's own message for the code."""
        text = text or error_message(code)
        return self.arm(Fault(FaultKind.ERROR, tuple(methods), times, skip, code=code, text=text))

    def drop(self, *, times: int = 0, methods: Iterable[str] = (), skip: int = 0) -> Fault:
        """Abort the connection before the request is executed."""
        return self.arm(Fault(FaultKind.DROP, tuple(methods), times, skip))

    def lose_answer(self, *, times: int = 0, methods: Iterable[str] = (), skip: int = 0) -> Fault:
        """Execute the request, then abort the connection: the client cannot know (W3)."""
        return self.arm(Fault(FaultKind.LOSE_ANSWER, tuple(methods), times, skip))

    def swallow(self, *, times: int = 0, skip: int = 0) -> Fault:
        """Take transactions that pass preflight, answer their signatures, and lose them (W2)."""
        return self.arm(Fault(FaultKind.SWALLOW, times=times, skip=skip))

    def cut(self, *, times: int = 0, methods: Iterable[str] = (), skip: int = 0) -> Fault:
        """Send half of the announced body, then abort the connection."""
        return self.arm(Fault(FaultKind.CUT, tuple(methods), times, skip))

    def truncate(self, *, times: int = 0, methods: Iterable[str] = (), skip: int = 0) -> Fault:
        """Send a complete HTTP answer that holds the first half of the JSON."""
        return self.arm(Fault(FaultKind.TRUNCATE, tuple(methods), times, skip))

    def garble(self, *, times: int = 0, methods: Iterable[str] = (), skip: int = 0) -> Fault:
        """Answer bytes that are no text."""
        return self.arm(Fault(FaultKind.GARBLE, tuple(methods), times, skip))

    def wrong_id(self, *, times: int = 0, methods: Iterable[str] = (), skip: int = 0) -> Fault:
        """Answer under another request's id."""
        return self.arm(Fault(FaultKind.WRONG_ID, tuple(methods), times, skip))

    def oversize(self, size: int, *, times: int = 0, methods: Iterable[str] = (), skip: int = 0) -> Fault:
        """Pad the answer to `size` bytes of JSON, compressed for a client that accepts gzip: a small bomb."""
        return self.arm(Fault(FaultKind.OVERSIZE, tuple(methods), times, skip, size=size))

    def stall(
        self, milliseconds: int, *, times: int = 0, methods: Iterable[str] = (), skip: int = 0
    ) -> Fault:
        """Answer late."""
        return self.arm(Fault(FaultKind.STALL, tuple(methods), times, skip, milliseconds=milliseconds))

    def lag(self, slots: int, *, methods: Iterable[str] = ()) -> Fault:
        """Answer as of `slots` slots ago: heights, blocks, statuses, histories and health.

        Account state is not rewound (no validator keeps it); only the slot in its context is.
        """
        return self.arm(Fault(FaultKind.LAG, tuple(methods), slots=slots))

    def lie_height(self, slots: int, *, methods: Iterable[str] = ()) -> Fault:
        """Claim slots and heights (contexts too) `slots` above, or if negative below, the truth."""
        return self.arm(Fault(FaultKind.LIE_HEIGHT, tuple(methods), slots=slots))

    def withhold(self, *slots: int, answer: str = "null") -> Fault:
        """Have no block at these slots: getBlock answers null or a code ("-32004"), getBlocks omits them."""
        return self.arm(Fault(FaultKind.WITHHOLD, at=slots, text=answer))

    def swap(self, slot: int, other: int) -> Fault:
        """Answer the block of one slot for the other, both ways."""
        return self.arm(Fault(FaultKind.SWAP, at=(slot, other)))

    def repeat(self, slot: int, of: int) -> Fault:
        """Answer the block of slot `of` when asked for `slot`."""
        return self.arm(Fault(FaultKind.REPEAT, at=(slot, of)))

    def alter(self, alteration: str | Alteration, *slots: int, times: int = 0) -> Fault:
        """Lie about the contents of the blocks at `slots` (none given: of all).

        `alteration` is a name from `fault_answers.ALTERATIONS` or a function that changes the block's JSON
        in place; the latter cannot be printed in a script.
        """
        if callable(alteration):
            name = getattr(alteration, "__name__", "custom")
            return self.arm(Fault(FaultKind.ALTER, times=times, at=slots, text=name), custom=alteration)
        return self.arm(Fault(FaultKind.ALTER, times=times, at=slots, text=alteration))

    def drop_sockets(self) -> Fault:
        """Close every subscription connection of this endpoint now; new ones are accepted."""
        fault = Fault(FaultKind.WS_DROP, times=1)
        self.arm(fault)
        self.remove(fault)
        return fault

    def mute_sockets(self) -> Fault:
        """Keep subscriptions open but send nothing until removed."""
        return self.arm(Fault(FaultKind.WS_MUTE))

    @property
    def sockets_muted(self) -> bool:
        """Whether subscriptions are silent."""
        return any(armed.fault.kind is FaultKind.WS_MUTE for armed in self._armed)

    @property
    def height_shift(self) -> int:
        """How far the slots that subscriptions report are from the truth: lies less lags."""
        lies = sum(a.fault.slots for a in self._armed if a.fault.kind is FaultKind.LIE_HEIGHT)
        return lies - sum(a.fault.slots for a in self._armed if a.fault.kind is FaultKind.LAG)

    def on_socket_fault(self, watcher: Callable[[], None]) -> None:
        """Register the WebSocket server's hook, called on the arming thread when a socket fault is armed."""
        self._socket_watchers.append(watcher)

    # --- answering: see localnet.fault_http for what each fault does to an answer

    async def respond(self, request: web.BaseRequest, handle: Handle) -> web.StreamResponse:
        """Answer an HTTP request through the armed faults; without any, exactly what `handle` answers."""
        body = await request.read()
        self.requests += 1
        if not self._armed:
            return fault_http.json_answer(request, await handle(body), gzip=self.gzip)
        return await fault_http.answer(request, body, handle, self._take(calls_of(body)), gzip=self.gzip)

    def _take(self, calls: tuple[Call, ...]) -> list[tuple[Fault, Alteration | None]]:
        """The faults that meet a request with these calls, counted and logged."""
        taken = []
        methods = tuple(call.method for call in calls)
        with self._lock:
            for armed in self._armed:
                fault = armed.fault
                if fault.kind in SOCKET_KINDS or not meets(fault, calls):
                    continue
                if armed.passed < fault.skip:
                    armed.passed += 1
                    continue
                armed.fired += 1
                taken.append((fault, armed.custom))
                self.log.append(Fired(self.requests, methods, fault))
            self._armed = tuple(a for a in self._armed if not a.fault.times or a.fired < a.fault.times)
        return taken


class _Ledger(Protocol):
    def slot_at(self, commitment: str) -> int: ...
    def subscribe(self, listener: Callable[[Any], None]) -> Callable[[], None]: ...
    def skip_slots(self, slots: int) -> None: ...
    def reorg(self, depth: int, drop: frozenset[str] | None) -> object: ...


class _Validator(Protocol):
    @property
    def ledger(self) -> _Ledger: ...
    def call(self, function: Callable[..., Any], *args: object) -> Any: ...


class Faults(EndpointFaults):
    """The faults of a validator: of its main endpoint, of its further endpoints by name, and of the chain."""

    def __init__(self, validator: _Validator | None = None) -> None:
        super().__init__(MAIN_ENDPOINT)
        self._validator = validator
        self._endpoints: dict[str, EndpointFaults] = {MAIN_ENDPOINT: self}

    def endpoint(self, name: str) -> EndpointFaults:
        """The faults of the endpoint of that name, made on first use: a script can name it before."""
        return self._endpoints.setdefault(name, EndpointFaults(name))

    @property
    def endpoints(self) -> tuple[EndpointFaults, ...]:
        """Every endpoint's faults, the main one first."""
        return tuple(self._endpoints.values())

    def clear_all(self) -> None:
        """Disarm every fault at every endpoint."""
        for endpoint in self.endpoints:
            endpoint.clear()

    def skip_slots(self, slots: int = 1) -> Fault:
        """Let the next `slots` slots pass without a block."""
        validator = self._of_chain()
        validator.call(validator.ledger.skip_slots, slots)
        return Fault(FaultKind.SKIP, slots=slots)

    def reorg(self, depth: int = 1, *, drop: Iterable[str] | None = None) -> Fault:
        """Abandon the last `depth` blocks for a fork at later slots.

        The transactions of the abandoned blocks run again in the fork except the signatures in `drop`; None
        drops all. Raises ValueError if a block that deep is finalized: a finalized block is never abandoned.
        """
        validator = self._of_chain()
        validator.call(validator.ledger.reorg, depth, None if drop is None else frozenset(drop))
        return Fault(FaultKind.REORG, slots=depth, text="drop" if drop is None else "keep")

    def play(self, script: FaultScript) -> FaultPlayer:
        """Play a script from the current slot on: see `localnet.fault_script.play`."""
        from localnet.fault_script import play  # it imports this module

        return play(script, self, self._of_chain())

    def strike(self, fault: Fault, endpoint: str = MAIN_ENDPOINT) -> None:
        """Do what a fault says: arm it at an endpoint, or put it to the chain."""
        if fault.kind is FaultKind.SKIP:
            self.skip_slots(fault.slots)
        elif fault.kind is FaultKind.REORG:
            self.reorg(fault.slots, drop=() if fault.text == "keep" else None)
        elif fault.kind is FaultKind.WS_DROP:
            self.endpoint(endpoint).drop_sockets()
        else:
            self.endpoint(endpoint).arm(fault)

    def lift(self, fault: Fault, endpoint: str = MAIN_ENDPOINT) -> None:
        """Disarm a fault that `strike` armed; those that used themselves up are gone already."""
        self.endpoint(endpoint).remove(fault)

    def _of_chain(self) -> _Validator:
        if self._validator is None:
            raise ValueError("this backend cannot skip slots or reorganize")
        return self._validator
