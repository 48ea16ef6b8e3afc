"""JSON-RPC errors with a validator's codes and messages.

Owns: the exception `RpcError` and one function per kind of error. Rules: codes and texts are Agave's
(rpc-client-api/src/custom_error.rs, rpc/src/rpc.rs); clients match on them. Must not know: the ledger, HTTP.
"""

from __future__ import annotations

from typing import Final

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603


class RpcError(Exception):
    """An error answer: `code`, `message` and, for some codes, `data`."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.data = data

    def to_json(self) -> dict[str, object]:
        """The `error` member of a response."""
        body: dict[str, object] = {"code": self.code, "message": self.message}
        if self.data is not None:
            body["data"] = self.data
        return body


def parse_error() -> RpcError:
    """The request is not JSON."""
    return RpcError(PARSE_ERROR, "Parse error")


def invalid_request(message: str = "Invalid request") -> RpcError:
    """The request is JSON but no request, or asks for what is impossible."""
    return RpcError(INVALID_REQUEST, message)


def method_not_found() -> RpcError:
    """There is no such method."""
    return RpcError(METHOD_NOT_FOUND, "Method not found")


def invalid_params(message: str) -> RpcError:
    """A parameter is wrong; the message says which way."""
    return RpcError(INVALID_PARAMS, message)


def internal_error() -> RpcError:
    """The node failed; never the caller's fault."""
    return RpcError(INTERNAL_ERROR, "Internal error")


def preflight_failure(message: str, data: object) -> RpcError:
    """The simulation before sending failed; `data` is the simulation's result."""
    return RpcError(-32002, message, data)


def signature_verification_failure() -> RpcError:
    """A signature of the transaction is wrong."""
    return RpcError(-32003, "Transaction signature verification failure")


def block_not_available(slot: int) -> RpcError:
    """The slot has no block yet at the commitment asked for."""
    return RpcError(-32004, f"Block not available for slot {slot}")


def node_unhealthy(slots_behind: int | None) -> RpcError:
    """The node is behind, or does not know how far."""
    known = f"Node is behind by {slots_behind} slots" if slots_behind is not None else "Node is unhealthy"
    return RpcError(-32005, known, {"numSlotsBehind": slots_behind})


def slot_skipped(slot: int) -> RpcError:
    """The slot is finalized and has no block."""
    return RpcError(-32007, f"Slot {slot} was skipped, or missing due to ledger jump to recent snapshot")


def no_snapshot() -> RpcError:
    """The node keeps no snapshots."""
    return RpcError(-32008, "No snapshot")


def unsupported_transaction_version(version: int) -> RpcError:
    """The answer holds a transaction of a version above what the caller accepts."""
    return RpcError(
        -32015,
        f"Transaction version ({version}) is not supported by the requesting client. Please try the request "
        f'again with the following configuration parameter: "maxSupportedTransactionVersion": {version}',
    )


def min_context_slot_not_reached(context_slot: int) -> RpcError:
    """The node has not reached the slot that the caller wants at least."""
    return RpcError(-32016, "Minimum context slot has not been reached", {"contextSlot": context_slot})
