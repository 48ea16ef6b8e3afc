"""What each endpoint fault does to an HTTP answer.

Owns: the order in which several faults act on one request: late first, then those that keep the request
from being executed, then the lies, then those that spoil the transport of an executed request. Must not
know: which faults are armed, counting, the ledger.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from localnet import fault_answers as answers

if TYPE_CHECKING:
    from localnet.faults import Alteration, Fault, Handle

JSON_TYPE = "application/json"
HTML_ERROR = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)
THROTTLE_MESSAGE = "Too many requests for a specific RPC call"
NOT_TEXT = b'{"jsonrpc":"2.0","result":\xff\xfe\x00'


async def answer(
    request: web.BaseRequest,
    body: bytes,
    handle: Handle,
    taken: Sequence[tuple[Fault, Alteration | None]],
    *,
    gzip: bool,
) -> web.StreamResponse:
    """Answer a request through the faults that met it, each with its alteration function, if any."""
    for fault, _ in taken:
        if fault.kind.value == "stall":
            await asyncio.sleep(fault.milliseconds / 1000)
    for fault, _ in taken:
        instead = _instead(request, fault, body)
        if instead is not None:
            return instead
    for fault, custom in taken:
        if fault.kind.value in answers.LYING:
            handle = answers.lying(fault, handle, custom)
    reply = await handle(body)
    for fault, _ in taken:
        spoilt = await _spoilt(request, fault, reply)
        if spoilt is not None:
            return spoilt
    return json_answer(request, reply, gzip=gzip)


def json_answer(request: web.BaseRequest, body: bytes, *, gzip: bool) -> web.Response:
    """A JSON answer; with `gzip` compressed if the client says it accepts that."""
    if not gzip or "gzip" not in request.headers.get("Accept-Encoding", ""):
        return web.Response(body=body, content_type=JSON_TYPE, charset="utf-8")
    packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    packed = packer.compress(body) + packer.flush()
    headers = {"Content-Encoding": "gzip"}
    return web.Response(body=packed, headers=headers, content_type=JSON_TYPE, charset="utf-8")


def _instead(request: web.BaseRequest, fault: Fault, body: bytes) -> web.Response | None:
    """The answer of a fault that keeps the request from being executed, or None."""
    match fault.kind.value:
        case "throttle":
            headers = {"Retry-After": str(fault.retry_after_s)}
            text = answers.error_body(body, 429, THROTTLE_MESSAGE)
            return web.Response(status=429, headers=headers, body=text, content_type=JSON_TYPE)
        case "html":
            return web.Response(status=fault.status, body=HTML_ERROR, content_type="text/html")
        case "empty":
            return web.Response(body=b"", content_type=JSON_TYPE)
        case "garble":
            return web.Response(body=NOT_TEXT, content_type=JSON_TYPE)
        case "error":
            return web.Response(body=answers.error_body(body, fault.code, fault.text), content_type=JSON_TYPE)
        case "drop":
            return _abort(request)
    return None


async def _spoilt(request: web.BaseRequest, fault: Fault, reply: bytes) -> web.StreamResponse | None:
    """The answer of a fault that spoils the transport of an executed request, or None."""
    match fault.kind.value:
        case "lose_answer":
            return _abort(request)
        case "truncate":
            return web.Response(body=reply[: len(reply) // 2], content_type=JSON_TYPE)
        case "wrong_id":
            return web.Response(body=answers.with_wrong_id(reply), content_type=JSON_TYPE)
        case "oversize":
            padded = reply[:-1] + b" " * max(0, fault.size - len(reply)) + reply[-1:]
            return json_answer(request, padded, gzip=True)
        case "cut":
            response = web.StreamResponse(headers={"Content-Type": JSON_TYPE})
            response.content_length = len(reply)
            await response.prepare(request)
            await response.write(reply[: len(reply) // 2])
            if request.transport is not None:
                # a graceful close sends what is written first, so that the client sees half a body
                request.transport.close()
            return response
    return None


def _abort(request: web.BaseRequest) -> web.Response:
    """Reset the client's connection; the response returned is written to nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
