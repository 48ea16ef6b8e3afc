"""Methods on the node and the cluster: one node that leads every slot.

Owns: getHealth, getVersion, getIdentity, getGenesisHash, getEpochInfo, getEpochSchedule,
getTransactionCount, getClusterNodes, getVoteAccounts, leaders, inflation, performance samples, snapshots.
Rules: what a cluster of one node has none of is empty, never invented. Must not know: HTTP.
"""

from __future__ import annotations

from typing import Final

from ..errors import invalid_params, no_snapshot, node_unhealthy
from ..params import Params, pubkey_of
from ..svm import SLOTS_PER_EPOCH
from .registry import API_VERSION, FEATURE_SET, Node, method, view_of, with_context

MAX_SLOT_LEADERS: Final = 5_000
MAX_SAMPLES: Final = 720
_CONTEXT_CONFIG: Final = "RpcContextConfig"
_NO_INFLATION: Final = {
    "foundation": 0.0,
    "foundationTerm": 0.0,
    "initial": 0.0,
    "taper": 0.0,
    "terminal": 0.0,
}


@method("getHealth", 0, 0)
def get_health(node: Node, params: Params) -> object:
    """ "ok". Raises -32005 when the node is behind."""
    if node.slots_behind != 0:
        raise node_unhealthy(node.slots_behind)
    return "ok"


@method("getVersion", 0, 0)
def get_version(node: Node, params: Params) -> object:
    """The release whose answers are given here."""
    return {"solana-core": API_VERSION, "feature-set": FEATURE_SET}


@method("getIdentity", 0, 0)
def get_identity(node: Node, params: Params) -> object:
    """The address of the node."""
    return {"identity": str(node.ledger.identity)}


@method("getGenesisHash", 0, 0)
def get_genesis_hash(node: Node, params: Params) -> object:
    """What tells this chain from every other."""
    return node.ledger.genesis_hash


@method("getEpochInfo", 0, 1)
def get_epoch_info(node: Node, params: Params) -> object:
    """Where in its epoch the chain is."""
    view = view_of(node, params.config(0, _CONTEXT_CONFIG))
    return {
        "absoluteSlot": view.slot,
        "blockHeight": view.height,
        "epoch": view.epoch,
        "slotIndex": view.slot % SLOTS_PER_EPOCH,
        "slotsInEpoch": SLOTS_PER_EPOCH,
        "transactionCount": _transaction_count(node, view.slot),
    }


@method("getEpochSchedule", 0, 0)
def get_epoch_schedule(node: Node, params: Params) -> object:
    """How slots make epochs."""
    schedule = node.ledger.svm.epoch_schedule
    return {
        "firstNormalEpoch": schedule.first_normal_epoch,
        "firstNormalSlot": schedule.first_normal_slot,
        "leaderScheduleSlotOffset": schedule.leader_schedule_slot_offset,
        "slotsPerEpoch": schedule.slots_per_epoch,
        "warmup": schedule.warmup,
    }


@method("getTransactionCount", 0, 1)
def get_transaction_count(node: Node, params: Params) -> object:
    """The transactions processed since genesis."""
    return _transaction_count(node, view_of(node, params.config(0, _CONTEXT_CONFIG)).slot)


def _transaction_count(node: Node, slot: int) -> int:
    ledger = node.ledger
    if slot >= ledger.open.slot:
        return ledger.transaction_count
    later = ledger.blocks_between(slot + 1, ledger.open.slot)
    return (
        ledger.transaction_count
        - len(ledger.open.transactions)
        - sum(len(block.transactions) for block in later)
    )


@method("getClusterNodes", 0, 0)
def get_cluster_nodes(node: Node, params: Params) -> object:
    """The one node; it has no gossip and no transaction port."""
    ports = dict.fromkeys(
        (
            "gossip",
            "tvu",
            "tpu",
            "tpuQuic",
            "tpuForwards",
            "tpuForwardsQuic",
            "tpuVote",
            "serveRepair",
            "rpc",
            "pubsub",
        )
    )
    return [
        {
            "pubkey": str(node.ledger.identity),
            "version": API_VERSION,
            "featureSet": FEATURE_SET,
            "shredVersion": 0,
            **ports,
        }
    ]


@method("getVoteAccounts", 0, 1)
def get_vote_accounts(node: Node, params: Params) -> object:
    """None: blocks become final by depth, nobody votes."""
    params.config(0, "RpcGetVoteAccountsConfig").commitment()
    return {"current": [], "delinquent": []}


@method("getSlotLeader", 0, 1)
def get_slot_leader(node: Node, params: Params) -> object:
    """The one node."""
    view_of(node, params.config(0, _CONTEXT_CONFIG))
    return str(node.ledger.identity)


@method("getSlotLeaders", 2, 2)
def get_slot_leaders(node: Node, params: Params) -> object:
    """The one node, so many times."""
    params.uint(0)
    limit = params.uint(1)
    if limit > MAX_SLOT_LEADERS:
        raise invalid_params(f"Invalid limit; max {MAX_SLOT_LEADERS}")
    return [str(node.ledger.identity)] * limit


@method("getLeaderSchedule", 0, 2)
def get_leader_schedule(node: Node, params: Params) -> object:
    """The one node leads every slot of the epoch."""
    config = params.config(0 if isinstance(params.get(0), dict) else 1, "RpcLeaderScheduleConfig")
    wanted = config.text("identity")
    identity = node.ledger.identity
    if wanted is not None and pubkey_of(wanted) != identity:
        return {}
    return {str(identity): list(range(SLOTS_PER_EPOCH))}


@method("getBlockProduction", 0, 1)
def get_block_production(node: Node, params: Params) -> object:
    """How many of the slots of this epoch have a block."""
    view = view_of(node, params.config(0, "RpcBlockProductionConfig"))
    first = view.epoch * SLOTS_PER_EPOCH
    produced = len(node.ledger.blocks_between(first, view.slot))
    counts = {str(node.ledger.identity): [view.slot - first + 1, produced]}
    value = {"byIdentity": counts, "range": {"firstSlot": first, "lastSlot": view.slot}}
    return with_context(view, value)


@method("getInflationGovernor", 0, 1)
def get_inflation_governor(node: Node, params: Params) -> object:
    """No inflation."""
    return _NO_INFLATION


@method("getInflationRate", 0, 0)
def get_inflation_rate(node: Node, params: Params) -> object:
    """No inflation."""
    epoch = node.ledger.view("finalized").epoch
    return {"epoch": epoch, "foundation": 0.0, "total": 0.0, "validator": 0.0}


@method("getInflationReward", 1, 2)
def get_inflation_reward(node: Node, params: Params) -> object:
    """No rewards."""
    return [None for text in params.texts(0) if pubkey_of(text)]


@method("getStakeMinimumDelegation", 0, 1)
def get_stake_minimum_delegation(node: Node, params: Params) -> object:
    """One lamport."""
    return with_context(view_of(node, params.config(0, _CONTEXT_CONFIG)), 1)


@method("getRecentPerformanceSamples", 0, 1)
def get_recent_performance_samples(node: Node, params: Params) -> object:
    """Transactions and slots of each minute, newest first; at most 720."""
    limit = params.optional_uint(0)
    if limit is not None and limit > MAX_SAMPLES:
        raise invalid_params(f"Invalid limit; max {MAX_SAMPLES}")
    minutes: dict[int, list[int]] = {}
    for block in node.ledger.chain:
        entry = minutes.setdefault(block.time_s // 60, [0, 0, 0])
        entry[0] = block.slot
        entry[1] += len(block.transactions)
        entry[2] += 1
    newest_first = sorted(minutes.items(), reverse=True)[: MAX_SAMPLES if limit is None else limit]
    return [
        {
            "slot": slot,
            "numTransactions": transactions,
            "numNonVoteTransactions": transactions,
            "numSlots": slots,
            "samplePeriodSecs": 60,
        }
        for _, (slot, transactions, slots) in newest_first
    ]


@method("getHighestSnapshotSlot", 0, 0)
def get_highest_snapshot_slot(node: Node, params: Params) -> object:
    """Raises -32008: there are no snapshots."""
    raise no_snapshot()


@method("getMaxRetransmitSlot", 0, 0)
def get_max_retransmit_slot(node: Node, params: Params) -> object:
    """The open slot."""
    return node.ledger.open.slot


@method("getMaxShredInsertSlot", 0, 0)
def get_max_shred_insert_slot(node: Node, params: Params) -> object:
    """The open slot."""
    return node.ledger.open.slot
