"""JSON-RPC answers that lie: pure rewriting of what a true endpoint said, for `localnet.faults`.

Owns: reading calls out of a request body, error bodies, and one wrapper per lying fault. A wrapper takes a
function that answers truthfully and gives one that does not; where a lie needs more facts (which block was
the newest one `slots` ago?) it asks the true endpoint in JSON-RPC, so it works in front of any validator.

Integers stay integers: every figure of a block is a whole number or a decimal string; floats (uiAmount)
pass through.

Must not know: HTTP, which faults are armed, the ledger.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from .fault_transactions import swallowing

if TYPE_CHECKING:
    from localnet.faults import Fault, Handle

Json = Any  # JSON of somebody else's making; msgspec checks only that it is JSON

BLOCK_METHODS = frozenset({"getBlock", "getConfirmedBlock", "getBlocks", "getBlocksWithLimit"})
LYING = frozenset({"swallow", "lag", "lie_height", "withhold", "swap", "repeat", "alter"})
OF_BLOCKS = frozenset({"withhold", "swap", "repeat", "alter"})

# The validator's own messages (Agave, rpc-client-api/src/custom_error.rs).
_MESSAGES = {
    -32001: "Block {slot} cleaned up, does not exist on node. First available block: {slot}",
    -32004: "Block not available for slot {slot}",
    -32005: "Node is unhealthy",
    -32007: "Slot {slot} was skipped, or missing due to ledger jump to recent snapshot",
    -32009: "Slot {slot} was skipped, or missing in long-term storage",
    -32014: "Block status not yet available for slot {slot}",
    -32015: "Transaction version (1) is not supported by the requesting client. "
    "Please try the request again with the following "
    'configuration parameter: "maxSupportedTransactionVersion": 1',
    -32016: "Minimum context slot has not been reached",
    -32603: "Internal error",
}
WITHHOLD_ANSWERS = frozenset({"null", "-32001", "-32004", "-32007", "-32009", "-32014"})


@dataclass(frozen=True, slots=True)
class Call:
    """One JSON-RPC call of a request body."""

    id: Json
    method: str
    params: Json

    @property
    def slot(self) -> int | None:
        """The slot that a block method asks for first, None for any other method or malformed parameters."""
        if self.method not in BLOCK_METHODS and self.method != "getBlockTime":
            return None
        if not isinstance(self.params, list) or not self.params or not isinstance(self.params[0], int):
            return None
        return self.params[0]

    @property
    def commitment(self) -> str:
        """The commitment asked for, "finalized" if none is."""
        for param in self.params if isinstance(self.params, list) else ():
            if isinstance(param, dict) and isinstance(param.get("commitment"), str):
                return str(param["commitment"])
        return "finalized"


def error_message(code: int, slot: int | str = 0) -> str:
    """The validator's message for a code, "Server error" for one it does not use."""
    return _MESSAGES.get(code, "Server error").format(slot=slot)


def calls_of(body: bytes) -> tuple[Call, ...]:
    """The calls of a request body in order; none if it is not a request."""
    try:
        decoded = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ()
    items = decoded if isinstance(decoded, list) else [decoded]
    return tuple(
        Call(item.get("id"), str(item.get("method", "")), item.get("params"))
        for item in items
        if isinstance(item, dict)
    )


def meets(fault: Fault, calls: tuple[Call, ...]) -> bool:
    """Whether a fault concerns a request: by method, and for a fault of blocks by the slots it names."""
    if fault.methods and not any(call.method in fault.methods for call in calls):
        return False
    if fault.kind.value == "swallow":
        return any(call.method == "sendTransaction" for call in calls)
    if fault.kind.value not in OF_BLOCKS:
        return True
    if fault.kind.value == "withhold":
        return any(call.method in BLOCK_METHODS for call in calls)
    return any(
        call.method == "getBlock"
        and (not fault.at or call.slot in fault.at[: 1 if fault.kind.value == "repeat" else None])
        for call in calls
    )


def error_body(body: bytes, code: int, message: str) -> bytes:
    """The JSON-RPC error answer to every call of a request, a batch for a batch."""
    calls = calls_of(body)
    if not body.lstrip().startswith(b"["):
        return msgspec.json.encode(_error(calls[0].id if calls else None, code, message))
    return msgspec.json.encode([_error(call.id, code, message) for call in calls])


def with_wrong_id(reply: bytes) -> bytes:
    """The same answer under an id that nobody used."""
    if not reply:
        return reply
    decoded = msgspec.json.decode(reply)
    for item in decoded if isinstance(decoded, list) else [decoded]:
        item["id"] = f"not-{item.get('id')}"
    return msgspec.json.encode(decoded)


def lying(fault: Fault, handle: Handle, custom: Callable[[Json], object] | None = None) -> Handle:
    """Wrap a truthful `handle` in the lie of a fault."""
    if fault.kind.value == "swallow":
        return swallowing(handle)
    ask = _Asker(handle)

    async def answer(body: bytes) -> bytes:
        calls = calls_of(body)
        inner = _redirect(fault, body) if fault.kind.value in ("swap", "repeat") else body
        raw = await handle(inner)
        if not raw:  # a notification has no answer to lie in
            return raw
        reply = msgspec.json.decode(raw)
        by_id = {_key(item.get("id")): item for item in (reply if isinstance(reply, list) else [reply])}
        for call in calls:
            item = by_id.get(_key(call.id))
            if item is not None and (not fault.methods or call.method in fault.methods):
                await _REWRITES[fault.kind.value](fault, call, item, ask, custom)
        return msgspec.json.encode(reply)

    return answer


class _Asker:
    """Asks the truthful endpoint."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    async def __call__(self, method: str, *params: Json) -> Json:
        """The result of one call, None for an error."""
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": 0, "method": method, "params": list(params)})
        return msgspec.json.decode(await self._handle(body)).get("result")


def _key(identity: Json) -> str:
    return repr(identity)


def _error(identity: Json, code: int, message: str, data: Json = None) -> Json:
    error = {"code": code, "message": message} | ({} if data is None else {"data": data})
    return {"jsonrpc": "2.0", "error": error, "id": identity}


def _become_error(item: Json, code: int, message: str, data: Json = None) -> None:
    item.pop("result", None)
    item["error"] = _error(None, code, message, data)["error"]


# --- blocks that are not what was asked for


def _redirect(fault: Fault, body: bytes) -> bytes:
    """The request with the slot of another block in it."""
    decoded = msgspec.json.decode(body)
    target = (
        {fault.at[0]: fault.at[1]}
        if fault.kind.value == "repeat"
        else dict(zip(fault.at, fault.at[::-1], strict=True))
    )
    for item in decoded if isinstance(decoded, list) else [decoded]:
        params = item.get("params")
        if item.get("method") == "getBlock" and isinstance(params, list) and params and params[0] in target:
            params[0] = target[params[0]]
    return msgspec.json.encode(decoded)


async def _rewrite_nothing(fault: Fault, call: Call, item: Json, ask: _Asker, custom: object) -> None:
    """Swapped and repeated blocks are true answers to another question."""


async def _rewrite_withheld(fault: Fault, call: Call, item: Json, ask: _Asker, custom: object) -> None:
    if call.method == "getBlock" and call.slot in fault.at:
        if fault.text == "null":
            item.pop("error", None)
            item["result"] = None
        else:
            code = int(fault.text)
            _become_error(item, code, error_message(code, call.slot or 0))
    elif call.method in ("getBlocks", "getBlocksWithLimit") and isinstance(item.get("result"), list):
        item["result"] = [slot for slot in item["result"] if slot not in fault.at]


async def _rewrite_contents(
    fault: Fault, call: Call, item: Json, ask: _Asker, custom: Callable[[Json], object] | None
) -> None:
    block = item.get("result")
    if call.method != "getBlock" or not isinstance(block, dict) or (fault.at and call.slot not in fault.at):
        return
    (custom or ALTERATIONS[fault.text])(block)


# --- heights


async def _rewrite_heights(fault: Fault, call: Call, item: Json, ask: _Asker, custom: object) -> None:
    result = item.get("result")
    if call.method in (
        "getSlot",
        "getBlockHeight",
        "getMaxRetransmitSlot",
        "getMaxShredInsertSlot",
    ) and isinstance(result, int):
        item["result"] = max(0, result + fault.slots)
    elif isinstance(result, dict):
        for field in ("absoluteSlot", "blockHeight") if call.method == "getEpochInfo" else ():
            result[field] = max(0, result[field] + fault.slots)
        _shift_context(result, lambda slot: max(0, slot + fault.slots))


def _shift_context(result: Json, shift: Callable[[int], int]) -> None:
    context = result.get("context")
    if isinstance(context, dict) and isinstance(context.get("slot"), int):
        context["slot"] = shift(context["slot"])


async def _rewrite_as_of(fault: Fault, call: Call, item: Json, ask: _Asker, custom: object) -> None:
    """The answer of a node that has not seen the last `fault.slots` slots."""
    if call.method == "getHealth":
        _become_error(item, -32005, f"Node is behind by {fault.slots} slots", {"numSlotsBehind": fault.slots})
        return
    if "result" not in item:
        return
    tip = {name: max(0, await ask("getSlot", {"commitment": name}) - fault.slots) for name in _LEVELS}
    cut = tip.get(call.commitment, tip["finalized"])
    result = item["result"]
    if isinstance(result, dict):
        _shift_context(result, lambda slot: min(slot, cut))
    match call.method:
        case "getSlot":
            item["result"] = cut
        case "getBlock" | "getBlockTime" if call.slot is not None and call.slot > cut:
            _become_error(item, -32004, error_message(-32004, call.slot))
        case "getBlocks" | "getBlocksWithLimit":
            item["result"] = [slot for slot in result if slot <= cut]
        case "getTransaction" if result is not None and result["slot"] > cut:
            item["result"] = None
        case "getSignaturesForAddress":
            item["result"] = [entry for entry in result if entry["slot"] <= cut]
        case "getSignatureStatuses":
            result["value"] = [_status_as_of(status, tip) for status in result["value"]]
        case "getBlockHeight" | "getEpochInfo" | "getLatestBlockhash":
            await _newest_block_as_of(call, item, cut, ask)


_LEVELS = ("processed", "confirmed", "finalized")


def _status_as_of(status: Json, tip: dict[str, int]) -> Json:
    """A signature status as the node saw it then, None if it had not."""
    if status is None or status["slot"] > tip["processed"]:
        return None
    level = next(name for name in reversed(_LEVELS) if status["slot"] <= tip[name])
    finalized = level == "finalized"
    return status | {
        "confirmationStatus": level,
        "confirmations": None if finalized else tip["processed"] - status["slot"],
    }


async def _newest_block_as_of(call: Call, item: Json, cut: int, ask: _Asker) -> None:
    """Heights and blockhash of the newest block at or below `cut`."""
    options = {"transactionDetails": "none", "rewards": False, "maxSupportedTransactionVersion": 1}
    level = "confirmed" if call.commitment == "processed" else call.commitment  # getBlock refuses processed
    known = await ask("getBlocks", max(0, cut - 500), cut, {"commitment": level})
    block = await ask("getBlock", known[-1], options | {"commitment": level}) if known else None
    height = 0 if block is None else block["blockHeight"]
    if call.method == "getBlockHeight":
        item["result"] = height
    elif call.method == "getEpochInfo":
        behind = item["result"]["absoluteSlot"] - cut
        item["result"] |= {
            "absoluteSlot": cut,
            "blockHeight": height,
            "slotIndex": max(0, item["result"]["slotIndex"] - behind),
        }
    elif block is not None:
        item["result"]["value"] = {"blockhash": block["blockhash"], "lastValidBlockHeight": height + 150}


_REWRITES: dict[str, Callable[[Fault, Call, Json, _Asker, Any], Awaitable[None]]] = {
    "swap": _rewrite_nothing,
    "repeat": _rewrite_nothing,
    "withhold": _rewrite_withheld,
    "alter": _rewrite_contents,
    "lie_height": _rewrite_heights,
    "lag": _rewrite_as_of,
}


# --- what a lying block says

_FORGED_HASH = "11111111111111111111111111111112"
_INFLATION_UNITS = 1_000_000_000


def _transactions(block: Json) -> list[Json]:
    found = block.get("transactions")
    return found if isinstance(found, list) else []


def _metas(block: Json) -> list[Json]:
    return [entry["meta"] for entry in _transactions(block) if isinstance(entry.get("meta"), dict)]


def _inflate(block: Json) -> None:
    """Every account that gained lamports or tokens gained 10^9 base units more."""
    for meta in _metas(block):
        before = {
            entry["accountIndex"]: int(entry["uiTokenAmount"]["amount"])
            for entry in meta.get("preTokenBalances") or ()
        }
        for index, (pre, post) in enumerate(zip(meta["preBalances"], meta["postBalances"], strict=True)):
            if post > pre:
                meta["postBalances"][index] = post + _INFLATION_UNITS
        for entry in meta.get("postTokenBalances") or ():
            amount = int(entry["uiTokenAmount"]["amount"])
            if amount > before.get(entry["accountIndex"], 0):
                entry["uiTokenAmount"]["amount"] = str(amount + _INFLATION_UNITS)


def _erase(block: Json) -> None:
    """The block has no transactions."""
    for name in ("transactions", "signatures"):
        if name in block:
            block[name] = []


def _no_meta(block: Json) -> None:
    """Every transaction's meta is null."""
    for entry in _transactions(block):
        entry["meta"] = None


def _no_error(block: Json) -> None:
    """Failed transactions are shown as successful."""
    for meta in _metas(block):
        meta["err"] = None
        if "status" in meta:
            meta["status"] = {"Ok": None}


def _twice(block: Json) -> None:
    """Every transaction stands in the block twice."""
    for name in ("transactions", "signatures"):
        if isinstance(block.get(name), list):
            block[name] = [copy.deepcopy(entry) for entry in block[name] for _ in range(2)]


def _forge(field: str) -> Callable[[Json], None]:
    def forge(block: Json) -> None:
        block[field] = _FORGED_HASH if isinstance(block[field], str) else abs(block[field] - 1)

    return forge


ALTERATIONS: dict[str, Callable[[Json], object]] = {
    "inflate": _inflate,
    "erase": _erase,
    "no_meta": _no_meta,
    "no_error": _no_error,
    "twice": _twice,
    "blockhash": _forge("blockhash"),
    "previous_blockhash": _forge("previousBlockhash"),
    "parent_slot": _forge("parentSlot"),
}
