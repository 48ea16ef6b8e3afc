"""Routes of the control API on a Unix socket (0600) in the data directory.

Owns: decoding requests, encoding answers, and the status of each kind of failure. Rules: whoever can
open the socket is the operator, so the file's permission is the authentication; every failure has the
body {"error": {"code", "message", "until_ns", "would_pass_units"}}; an unexpected failure is logged in
full and told as `internal_error` only.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from chain.errors import ChainError
from daemon.answers import Refused, refusal
from daemon.api import bodies
from daemon.api import market_bodies as mb
from daemon.control import Control
from daemon.errors import DaemonError

_log = logging.getLogger(__name__)
T = TypeVar("T", bound=bodies.Request)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_LARGEST_REQUEST_BYTES = 1 << 20


class ApiServer:
    """Serves a `Control` until it is stopped."""

    def __init__(self, control: Control, path: Path) -> None:
        self._control = control
        self._path = path
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; a socket left over by a killed daemon is replaced (the directory's lock is ours)."""
        application = web.Application(middlewares=[_errors], client_max_size=_LARGEST_REQUEST_BYTES)
        application.add_routes(routes(self._control))
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=2)
        await self._runner.setup()
        self._path.unlink(missing_ok=True)
        previous = os.umask(0o177)
        try:
            await web.UnixSite(self._runner, str(self._path)).start()
        finally:
            os.umask(previous)

    async def stop(self) -> None:
        """Stop listening and let running requests end."""
        if self._runner is not None:
            await self._runner.cleanup()
        self._path.unlink(missing_ok=True)


def routes(control: Control) -> list[web.RouteDef]:
    """List every route of the API."""
    return [
        *_customer_routes(control),
        *_trading_routes(control),
        *_market_routes(control),
        *_operator_routes(control),
    ]


def _customer_routes(control: Control) -> list[web.RouteDef]:
    async def address(request: web.Request) -> Any:
        return control.address(_needed(request, "subaccount"))

    return [
        _get("/v1/address", address),
        _get("/v1/subaccount", lambda r: control.subaccount(_needed(r, "subaccount"))),
        _post("/v1/subaccounts", bodies.OpenSubaccountRequest, control.open_subaccount),
        _post("/v1/on-debt", bodies.OnDebtRequest, control.set_on_debt),
        _post("/v1/preview", bodies.PreviewRequest, control.preview),
        _get(
            "/v1/deposits",
            lambda r: control.deposits(r.query.get("subaccount"), r.query.get("deposit_id")),
        ),
        _post("/v1/deposits/accept", bodies.DepositRequest, control.accept_held),
        _post("/v1/deposits/return", bodies.DepositRequest, control.return_held),
        _post("/v1/transfers", bodies.TransferRequest, control.transfer),
        _post("/v1/withdrawals", bodies.WithdrawRequest, control.withdraw),
        _post("/v1/withdrawals/cancel", bodies.CancelWithdrawalRequest, control.cancel_withdrawal),
        _get("/v1/withdrawal", lambda r: control.withdrawal(_needed(r, "id"))),
        _get("/v1/payouts", lambda r: control.payouts(r.query.get("subaccount"))),
    ]


def _trading_routes(control: Control) -> list[web.RouteDef]:
    trading, markets = control.trading, control.markets
    lending = [
        _post(f"/v1/{what}", mb.LendingRequest, partial(trading.move_lending, what))
        for what in ("lend", "redeem", "borrow", "repay")
    ]
    return [
        _post("/v1/orders", mb.OrderRequest, trading.place),
        _get("/v1/orders", lambda r: markets.orders(_needed(r, "subaccount"), r.query.get("market"))),
        _post("/v1/orders/cancel", mb.CancelRequest, trading.cancel),
        _post("/v1/orders/cancel-all", mb.CancelAllRequest, trading.cancel_all),
        _get("/v1/positions", lambda r: markets.positions(_needed(r, "subaccount"))),
        _post("/v1/trades", bodies.TradeRequest, trading.block_trade),
        *lending,
        _get("/v1/lending", lambda r: markets.lending(_needed(r, "subaccount"))),
        _post("/v1/lending", mb.SwitchesRequest, trading.set_lending),
        _post("/v1/backstop/register", bodies.BackstopRequest, trading.register_backstop),
        _post("/v1/backstop/capacity", bodies.BackstopCapacityRequest, trading.set_backstop_capacity),
        _post("/v1/backstop/leave", bodies.BackstopRequest, trading.leave_backstop),
    ]


def _market_routes(control: Control) -> list[web.RouteDef]:
    markets = control.markets
    return [
        _get("/v1/markets", lambda _: markets.all()),
        _get("/v1/market", lambda r: markets.one(_needed(r, "market"))),
        _get("/v1/depth", lambda r: markets.depth(_needed(r, "market"), _number(r, "levels", 20))),
        _get(
            "/v1/trades",
            lambda r: markets.trades(
                r.query.get("market"), r.query.get("subaccount"), _number(r, "last", 100)
            ),
        ),
        _get("/v1/adl", lambda r: markets.adl(_needed(r, "market"), r.query.get("subaccount"))),
        _get("/v1/pools", lambda _: markets.pools()),
        _get("/v1/liquidations", lambda _: markets.liquidations()),
        _get("/v1/backstop", lambda _: markets.capacities()),
    ]


def _operator_routes(control: Control) -> list[web.RouteDef]:
    async def set_clock(request: bodies.ClockRequest) -> Any:
        return control.set_clock(request)

    return [
        _get("/v1/status", lambda r: control.status(full=r.query.get("full") == "true")),
        _post("/v1/prices", bodies.PricesRequest, control.trading.prices),
        _post("/v1/quotes", mb.QuotesRequest, control.trading.quotes),
        _post("/v1/markets/state", mb.MarketStateRequest, control.trading.set_market_state),
        _post("/v1/tick", bodies.Request, lambda _: control.tick()),
        _post("/v1/attest", bodies.Request, lambda _: control.attest()),
        _post("/v1/clock", bodies.ClockRequest, set_clock),
        _post("/v1/payouts/rule", bodies.RuleRequest, control.rule),
        _get("/v1/journal", lambda r: control.journal(_number(r, "first", 1), _optional_number(r, "last"))),
        _get("/v1/notices", lambda _: control.notices()),
        _post("/v1/proof", bodies.Request, lambda _: control.solvency.make()),
        _get("/v1/proof", lambda r: control.solvency.epochs(_number(r, "last", 1))),
        _get("/v1/proof/record", lambda r: control.solvency.record(_needed(r, "subaccount"))),
    ]


def _get(path: str, answer: Callable[[web.Request], Awaitable[Any]]) -> web.RouteDef:
    return web.get(path, _answering(answer))


def _post(path: str, kind: type[T], answer: Callable[[T], Awaitable[Any]]) -> web.RouteDef:
    async def handle(request: web.Request) -> Any:
        return await answer(_decode(await request.read(), kind))

    return web.post(path, _answering(handle))


def _answering(answer: Callable[[web.Request], Awaitable[Any]]) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return _json(await answer(request))

    return handle


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.MsgspecError as error:
        raise refusal("malformed_request", str(error), 400) from error


def _needed(request: web.Request, name: str) -> str:
    value = request.query.get(name)
    if not value:
        raise refusal("malformed_request", f"the query needs {name}=...", 400)
    return value


def _optional_number(request: web.Request, name: str) -> int | None:
    return _number(request, name, 0) if name in request.query else None


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise refusal("malformed_request", f"{name} must be a whole number, not {text!r}", 400)
    return int(text)


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        return _json(bodies.ErrorBody(refused.error), refused.status)
    except ChainError as error:
        told = bodies.Error("chain_unavailable", f"the chain did not answer: {error}", final=False)
        return _json(bodies.ErrorBody(told), 503)
    except DaemonError as error:
        return _json(bodies.ErrorBody(bodies.Error("stopped", str(error), final=False)), 503)
    except TimeoutError:
        told = bodies.Error("timed_out", "the chain side did not get there in time", final=False)
        return _json(bodies.ErrorBody(told), 503)
    except web.HTTPException as error:
        told = bodies.Error("no_such_route", f"{request.method} {request.path}: {error.reason}")
        return _json(bodies.ErrorBody(told), error.status)
    except Exception:  # noqa: BLE001  # the last line of defense of one request
        _log.exception("%s %s failed", request.method, request.path)
        told = bodies.Error("internal_error", "a bug of ours; the daemon's log has the details")
        return _json(bodies.ErrorBody(told), 500)
