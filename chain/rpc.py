"""JSON-RPC over HTTP to one or several Solana nodes.

Owns the connection pool, the choice of an endpoint, retries, and the meaning of error codes (D6). Answers
are read as raw JSON with msgspec; nothing here decodes transactions or error variants (D5). Must not know
what a deposit is.

    async with RpcPool([Endpoint("http://127.0.0.1:8899")]) as pool:
        await pool.check_genesis(None)
        slot = await pool.call("getSlot", [{"commitment": "finalized"}], type=int)

A call without `endpoint` goes to the healthiest one and moves on when that one fails. A call with
`endpoint` never leaves it: cross-checks and proofs of death need two independent words.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload

import aiohttp
import msgspec

from chain.answers import REQUEST_FAULTS, error_of, excerpt, read_answer, retry_after_s
from chain.errors import (
    BlockNotAvailable,
    ChainError,
    NodeBehind,
    OutcomeUnknown,
    RpcError,
    Throttled,
    TransportError,
    UnsupportedVersion,
    WrongGenesis,
)
from chain.limits import DEFAULT_WEIGHTS, Endpoint, EndpointState, Pace

__all__ = ["Endpoint", "RpcFault", "RpcPool", "error_of"]

T = TypeVar("T")

# Once sent, a repetition could have a second effect. sendTransaction is not here: the same bytes land once.
_NOT_REPEATABLE: Final = frozenset({"requestAirdrop"})
# Error answers are small. A body above this size is a result, and is not parsed twice.
_LARGEST_ERROR_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class RpcFault:
    """Something for the log of an operator: endpoint, method, error and the first of the body."""

    endpoint: str
    method: str
    error: ChainError
    body_excerpt: str = ""


class RpcPool:
    """Endpoints of one cluster behind one door; an async context manager."""

    def __init__(
        self,
        endpoints: Iterable[Endpoint | str],
        *,
        requests_per_second: int = 50,
        max_in_flight: int = 16,
        timeout_s: float = 15.0,
        attempts: int = 4,
        max_body_bytes: int = 64 * 2**20,
        first_back_off_s: float = 0.1,
        longest_back_off_s: float = 30.0,
        weights: Mapping[str, int] = DEFAULT_WEIGHTS,
        jitter: Callable[[], float] = random.random,
        on_fault: Callable[[RpcFault], None] | None = None,
    ) -> None:
        pace = Pace(requests_per_second, max_in_flight, first_back_off_s, longest_back_off_s, weights)
        chosen = [Endpoint(e) if isinstance(e, str) else e for e in endpoints]
        if not chosen:
            raise ValueError("at least one endpoint is needed")
        if len({e.name for e in chosen}) != len(chosen):
            raise ValueError("endpoint names must differ: " + ", ".join(e.name for e in chosen))
        self.endpoints: tuple[Endpoint, ...] = tuple(chosen)
        self.states: dict[str, EndpointState] = {e.name: EndpointState(e, pace, jitter) for e in chosen}
        self.retries = 0
        self.rotations = 0
        self.genesis_hash: str | None = None
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._attempts = max(1, attempts)
        self._max_body_bytes = max_body_bytes
        self._on_fault = on_fault
        self._session: aiohttp.ClientSession | None = None
        self._next_id = 0
        self._decoders: dict[Any, msgspec.json.Decoder[Any]] = {}

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0)  # the limiters cap, per endpoint
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            headers={"Content-Type": "application/json", "Accept-Encoding": "gzip"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP session, for WebSocket connections to the same nodes; raises RuntimeError when closed."""
        if self._session is None:
            raise RuntimeError("RpcPool is used outside of 'async with'")
        return self._session

    @overload
    async def call(
        self,
        method: str,
        params: Sequence[Any] = ...,
        *,
        endpoint: Endpoint | str | None = ...,
        attempts: int | None = ...,
    ) -> Any: ...

    @overload
    async def call(
        self,
        method: str,
        params: Sequence[Any] = ...,
        *,
        type: type[T],
        endpoint: Endpoint | str | None = ...,
        attempts: int | None = ...,
    ) -> T: ...

    @overload
    async def call(
        self,
        method: str,
        params: Sequence[Any] = ...,
        *,
        type: Any,
        endpoint: Endpoint | str | None = ...,
        attempts: int | None = ...,
    ) -> Any: ...

    async def call(
        self,
        method: str,
        params: Sequence[Any] = (),
        *,
        type: Any = None,  # noqa: A002 - reads like msgspec.json.decode(..., type=...)
        endpoint: Endpoint | str | None = None,
        attempts: int | None = None,
    ) -> Any:
        """Return the decoded result; `type` is what msgspec shall decode it into (None: plain objects).

        `attempts` overrides how often a request without a usable answer is made.

        Raises RpcError by code (D6), TransportError when no usable answer came, OutcomeUnknown when a call
        that must not be repeated was sent without an answer. A null result passes only if `type` allows None.
        """

        def interpret(body: bytes, state: EndpointState, request_id: int) -> Any:
            answer = read_answer(body, state.name)
            if answer.id != request_id:
                raise TransportError(f"answer to request {answer.id}, not {request_id}", endpoint=state.name)
            answer.raise_error(state.name)
            try:
                return self._decoder(type).decode(answer.result)
            except (msgspec.DecodeError, UnicodeDecodeError) as fault:
                raise TransportError(
                    f"{method}: unexpected form of answer: {fault}",
                    endpoint=state.name,
                    body_excerpt=excerpt(body),
                ) from None

        return await self._ask(method, params, endpoint, attempts, interpret)

    async def raw(
        self,
        method: str,
        params: Sequence[Any] = (),
        *,
        endpoint: Endpoint | str | None = None,
        attempts: int | None = None,
    ) -> bytes:
        """Return the whole response body; errors are raised as in `call`, results are not looked at."""

        def interpret(body: bytes, state: EndpointState, request_id: int) -> bytes:
            if len(body) <= _LARGEST_ERROR_BYTES:
                answer = read_answer(body, state.name)
                answer.raise_error(state.name)
            elif body.lstrip(b" \t\r\n")[:1] != b"{":
                raise TransportError("answer is not JSON", endpoint=state.name, body_excerpt=excerpt(body))
            return body

        return await self._ask(method, params, endpoint, attempts, interpret)

    async def check_genesis(self, expected: str | None) -> str:
        """Ask every endpoint for its genesis hash, hold all to `expected` (or to each other), return it.

        Raises WrongGenesis naming both hashes. An endpoint that is down now is asked again before its first
        use; if none answers, its TransportError is raised.
        """
        self.genesis_hash = expected
        unreachable: ChainError | None = None
        for endpoint in self.endpoints:
            state = self.states[endpoint.name]
            state.genesis_checked = False
            try:
                await self._check_one_genesis(state)
            except (TransportError, RpcError) as error:
                unreachable = error
                state.failed()
        if self.genesis_hash is None or not any(state.genesis_checked for state in self.states.values()):
            raise unreachable or TransportError("no endpoint answered getGenesisHash")
        return self.genesis_hash

    def by_health(self, exclude: Iterable[str] = ()) -> list[Endpoint]:
        """Return the usable endpoints, best first: rested, few failures in a row, few requests in flight."""
        excluded = set(exclude)
        usable = [s for s in self.states.values() if not s.banned and s.name not in excluded]
        usable.sort(key=lambda s: (s.wait_s() > 0, s.penalty, s.wait_s(), s.in_flight))
        return [state.endpoint for state in usable]

    # -- one request -------------------------------------------------------------------------------------

    async def _ask(
        self,
        method: str,
        params: Sequence[Any],
        endpoint: Endpoint | str | None,
        attempts: int | None,
        interpret: Callable[[bytes, EndpointState, int], T],
    ) -> T:
        pinned = None if endpoint is None else self._state(endpoint)
        refused: set[str] = set()  # they answered; asking them again would give the same
        bans = "; ".join(state.banned for state in self.states.values() if state.banned)
        error: ChainError = TransportError("no usable endpoint" + (f" ({bans})" if bans else ""))
        limit = max(1, attempts or self._attempts) + (0 if pinned else len(self.states) - 1)
        for attempt in range(limit):
            state = pinned or self._pick(refused)
            if state is None:
                break
            if state.banned:
                raise TransportError(state.banned, endpoint=state.name)
            self.retries += attempt > 0
            await asyncio.sleep(state.wait_s())
            try:
                if self.genesis_hash is not None and not state.genesis_checked:
                    await self._check_one_genesis(state)
                result = await self._once(state, method, params, interpret)
            except WrongGenesis as fault:
                error = fault
                if pinned is not None:
                    raise
            except RpcError as fault:
                error = fault
                self._judge(state, method, fault)
                if pinned is not None or isinstance(fault, BlockNotAvailable | UnsupportedVersion):
                    raise
                if fault.code in REQUEST_FAULTS:
                    raise
                refused.add(state.name)
                self.rotations += 1
            except TransportError as fault:
                error = fault
                self._report(state, method, fault, fault.body_excerpt)
                if method in _NOT_REPEATABLE and not isinstance(fault, Throttled):
                    raise OutcomeUnknown(
                        f"{method} was sent to {state.name}, but no answer came: {fault}"
                    ) from fault
                if isinstance(fault, Throttled):
                    state.throttled += 1
                state.failed(fault.retry_after_s if isinstance(fault, Throttled) else None)
            else:
                state.succeeded()
                return result
        raise error

    async def _once(
        self,
        state: EndpointState,
        method: str,
        params: Sequence[Any],
        interpret: Callable[[bytes, EndpointState, int], T],
    ) -> T:
        self._next_id += 1
        request_id = self._next_id
        request = msgspec.json.encode(
            {"jsonrpc": "2.0", "id": request_id, "method": method, "params": list(params)}
        )
        async with state.turn(method):
            started = asyncio.get_running_loop().time()
            body = await self._post(state, request)
            state.last_latency_s = asyncio.get_running_loop().time() - started
        return interpret(body, state, request_id)

    async def _post(self, state: EndpointState, request: bytes) -> bytes:
        try:
            async with self.session.post(state.endpoint.url, data=request) as response:
                if response.status in (429, 503):
                    raise Throttled(
                        f"HTTP {response.status}",
                        endpoint=state.name,
                        retry_after_s=retry_after_s(response.headers),
                    )
                chunks: list[bytes] = []
                size = 0
                async for chunk in response.content.iter_any():
                    size += len(chunk)
                    state.bytes_received += len(chunk)
                    if size > self._max_body_bytes:
                        raise TransportError(
                            f"answer is larger than {self._max_body_bytes} bytes", endpoint=state.name
                        )
                    chunks.append(chunk)
                body = b"".join(chunks)
                # Some nodes send a JSON-RPC error with a 4xx or 5xx status: the object says more.
                if response.status != 200 and not body.lstrip().startswith(b'{"'):
                    raise TransportError(
                        f"HTTP {response.status}", endpoint=state.name, body_excerpt=excerpt(body)
                    )
        except TimeoutError:
            raise TransportError("timed out", endpoint=state.name) from None
        except (aiohttp.ClientError, OSError) as fault:
            # Only the kind: the message of a client error may contain the address with its API key.
            raise TransportError(f"connection failed ({type(fault).__name__})", endpoint=state.name) from None
        if not body.strip():
            raise TransportError("empty answer", endpoint=state.name)
        return body

    # -- endpoints ---------------------------------------------------------------------------------------

    def _state(self, endpoint: Endpoint | str) -> EndpointState:
        name = endpoint if isinstance(endpoint, str) else endpoint.name
        try:
            return self.states[name]
        except KeyError:
            raise ValueError(f"no endpoint named {name!r} in this pool") from None

    def _pick(self, refused: set[str]) -> EndpointState | None:
        candidates = self.by_health(refused)
        return self.states[candidates[0].name] if candidates else None

    def _judge(self, state: EndpointState, method: str, fault: RpcError) -> None:
        if isinstance(fault, NodeBehind):
            state.fell_behind()
        elif type(fault) is RpcError and fault.code not in REQUEST_FAULTS:
            self._report(state, method, fault, excerpt(msgspec.json.encode([fault.message, fault.data])))

    def _report(self, state: EndpointState, method: str, error: ChainError, body_excerpt: str) -> None:
        if self._on_fault is not None:
            self._on_fault(RpcFault(state.name, method, error, body_excerpt))

    async def _check_one_genesis(self, state: EndpointState) -> None:
        def interpret(body: bytes, state: EndpointState, request_id: int) -> str:
            answer = read_answer(body, state.name)
            answer.raise_error(state.name)
            try:
                return self._decoder(str).decode(answer.result)  # type: ignore[no-any-return]
            except msgspec.DecodeError:
                raise TransportError("getGenesisHash: not a hash", endpoint=state.name) from None

        found = await self._once(state, "getGenesisHash", (), interpret)
        if self.genesis_hash is None:
            self.genesis_hash = found
        if found != self.genesis_hash:
            fault = WrongGenesis(state.name, self.genesis_hash, found)
            state.banned = str(fault)
            self._report(state, "getGenesisHash", fault, "")
            raise fault
        state.genesis_checked = True

    def _decoder(self, shape: Any) -> msgspec.json.Decoder[Any]:
        decoder = self._decoders.get(shape)
        if decoder is None:
            decoder = msgspec.json.Decoder(Any if shape is None else shape)
            self._decoders[shape] = decoder
        return decoder
