"""A small blocking JSON-RPC client, for the driver of the external backend.

Owns: one HTTP request per call on 127.0.0.1, errors as `RpcError`, and accounts out of their JSON. Must not
know: what the methods do.
"""

from __future__ import annotations

import base64
import http.client
from typing import Any, Final

import msgspec
from solders.account import Account
from solders.pubkey import Pubkey

from .errors import RpcError

TIMEOUT_S: Final = 10.0


class RpcClient:
    """Calls methods of the endpoint at a port."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    def call(self, method: str, *params: object) -> Any:
        """The result of a method. Raises RpcError, OSError, ValueError when the answer is no JSON-RPC."""
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            raw = connection.getresponse().read()
        except http.client.HTTPException as error:
            raise OSError(f"no HTTP answer: {error!r}") from error
        finally:
            connection.close()
        try:
            answer = msgspec.json.decode(raw)
            if "error" in answer:
                refusal = answer["error"]
                raise RpcError(refusal["code"], refusal["message"], refusal.get("data"))
            return answer["result"]
        except (msgspec.DecodeError, KeyError, TypeError) as fault:
            raise ValueError(f"not a JSON-RPC answer: {raw[:200]!r}") from fault

    def send(self, wire: bytes) -> str:
        """Send a signed transaction; returns its signature."""
        options = {"encoding": "base64", "preflightCommitment": "confirmed"}
        return str(self.call("sendTransaction", base64.b64encode(wire).decode(), options))


def account_of(value: Any) -> Account | None:
    """The account of a getAccountInfo value in base64, None for null."""
    if value is None:
        return None
    data = base64.b64decode(value["data"][0])
    owner = Pubkey.from_string(value["owner"])
    return Account(value["lamports"], data, owner, value["executable"], value["rentEpoch"])
