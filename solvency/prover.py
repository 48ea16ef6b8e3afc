"""Make one epoch's proof: balances in, bundle out, records on demand.

Three steps, so that keys never come here:
1. `begin(snapshot, operator_key)` fixes the context and says which challenge each reserve owner must sign;
2. `prove(draft, master, reserve_signatures)` does the work (minutes when large; run it in a worker process);
3. `epoch.seal(signature)` takes the operator's signature over `epoch.operator_message` and gives the bundle.
`epoch.record(customer_id)` answers customers for as long as the epoch's state is kept (`dump`, `load`).

Owns: the order of the work and the totals. Must not know the engine, a chain, a database, a clock or a
private key. A bundle is checked by the verifier before it leaves here, in all but the range proofs.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace

import msgspec

from solvency import debtors, encode, verifier
from solvency.curve import ProverFault, range_proof
from solvency.debtors import DebtorWitness, Sums, Totals
from solvency.epoch import Epoch, UnknownCustomer
from solvency.keys import EpochSecret, MasterSecret, Use, leaf_label
from solvency.model import Balances, Snapshot, SnapshotFault, check_snapshot
from solvency.tree import Leaf, SumTree, build, padded_size
from solvency.verifier import (
    CLAIMS_TREE,
    CURVE_ORDER,
    AssetLine,
    Header,
    HeldAccount,
    OpenAccount,
    Role,
    Tree,
)

Progress = Callable[[str, int, int], None]  # stage, done, of how many


@dataclass(frozen=True, slots=True)
class Challenge:
    """Name what the owner of a reserve account must sign for this epoch."""

    account: bytes
    owner: bytes
    message: bytes


@dataclass(frozen=True, slots=True)
class ReserveSignature:
    """Hold a signature over the challenge, or over an envelope (a transaction) that contains it."""

    signature: bytes
    envelope: bytes | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Draft:
    """Hold an epoch that is fixed but not proved; it has no repr, because it holds every balance."""

    snapshot: Snapshot
    operator: bytes
    open_accounts: tuple[OpenAccount, ...]
    context: bytes
    challenges: tuple[Challenge, ...]


def begin(snapshot: Snapshot, operator: bytes) -> Draft:
    """Check the snapshot and fix the context; raise SnapshotFault or Rejected for what nobody would take."""
    check_snapshot(snapshot)
    verifier.check_key(operator)
    symbols = [asset.symbol for asset in snapshot.assets]
    opened = tuple(
        _in_clear(account, symbols)
        for account in sorted(snapshot.open_accounts, key=lambda account: account.customer_id)
    )
    numbers = (snapshot.sequence, snapshot.time_ns, snapshot.slot)
    start = encode.header_start(
        operator, snapshot.epoch, snapshot.previous_hash, numbers, snapshot.assets, opened
    )
    context = verifier.digest("context", start)
    challenges = tuple(
        Challenge(
            holding.account, holding.owner, verifier.challenge_text(context, holding.account, holding.owner)
        )
        for holding in sorted(snapshot.holdings, key=lambda holding: holding.account)
    )
    return Draft(snapshot, operator, opened, context, challenges)


def _balances_digest(snapshot: Snapshot) -> bytes:
    # Mappings are sorted, so the same balances give the same epoch secret however they were collected.
    rows = [
        (a.customer_id, dict(a.credits), dict(a.borrows), a.claim_usd6, a.debt_usd6)
        for a in sorted(snapshot.accounts, key=lambda a: a.customer_id)
    ]
    return hashlib.sha256(msgspec.msgpack.encode(rows, order="deterministic")).digest()


def _leaves(secret: EpochSecret, draft: Draft, number: int, amounts: Sequence[tuple[str, int]]) -> list[Leaf]:
    leaves: list[Leaf] = []
    for customer_id, units in amounts:
        own_id = customer_id.encode("utf-8")
        salt, blinding = secret.derive(Use.LEAF, leaf_label(number, own_id))
        leaves.append((verifier.id_tag(draft.context, number, salt, own_id), units, blinding))
    missing = padded_size(len(leaves)) - len(leaves)
    return leaves + [_padding(secret, draft, number, index) for index in range(missing)]


def _padding(secret: EpochSecret, draft: Draft, number: int, index: int) -> Leaf:
    tag, blinding = secret.derive(Use.PADDING, bytes((number,)) + index.to_bytes(8, "big"))
    return tag, 0, blinding


def _in_clear(account: Balances, symbols: Sequence[str]) -> OpenAccount:
    return OpenAccount(
        name=account.customer_id,
        credits=tuple(account.credits.get(symbol, 0) for symbol in symbols),
        borrows=tuple(account.borrows.get(symbol, 0) for symbol in symbols),
        claim_usd6=account.claim_usd6,
        debt_usd6=account.debt_usd6,
    )


def _public_tree(tree: SumTree, owed: Totals, in_clear: int) -> Tree:
    wire, root_hash, value, blinding = tree.root
    total = value + owed.value + in_clear
    return Tree(tree.depth, wire, root_hash, owed.wire, total, (blinding + owed.blinding) % CURVE_ORDER)


def _held_accounts(draft: Draft, signatures: Sequence[ReserveSignature]) -> tuple[HeldAccount, ...]:
    holdings = sorted(draft.snapshot.holdings, key=lambda holding: holding.account)
    if len(holdings) != len(signatures):
        raise SnapshotFault(f"{len(holdings)} reserve accounts, {len(signatures)} signatures")
    numbers = {asset.symbol: number for number, asset in enumerate(draft.snapshot.assets)}
    return tuple(
        HeldAccount(numbers[h.symbol], h.account, h.owner, h.units, s.envelope, s.signature)
        for h, s in zip(holdings, signatures, strict=True)
    )


def _prove_debtors(
    draft: Draft, witnesses: Sequence[DebtorWitness], executor: Executor | None, progress: Progress | None
) -> list[bytes]:
    records: list[bytes] = []
    contexts = [draft.context] * len(witnesses)
    made: Iterator[bytes]
    if executor is None:
        made = map(debtors.prove_debtor, contexts, witnesses)
    else:
        made = executor.map(debtors.prove_debtor, contexts, witnesses, chunksize=16)
    for record in made:
        records.append(record)
        if progress is not None:
            progress("debtors", len(records), len(witnesses))
    return records


def _build_trees(
    draft: Draft,
    secret: EpochSecret,
    plain: Sequence[Balances],
    executor: Executor | None,
    progress: Progress | None,
) -> dict[int, SumTree]:
    trees: dict[int, SumTree] = {}
    for number, asset in enumerate(draft.snapshot.assets):
        amounts = [(a.customer_id, a.credits[asset.symbol]) for a in plain if a.credits.get(asset.symbol)]
        leaves = _leaves(secret, draft, number, amounts)
        trees[number] = build(draft.context, number, leaves, executor, progress)
    claims = [(a.customer_id, a.claim_usd6) for a in plain if a.claim_usd6]
    leaves = _leaves(secret, draft, CLAIMS_TREE, claims)
    trees[CLAIMS_TREE] = build(draft.context, CLAIMS_TREE, leaves, executor, progress)
    return trees


def _root_proofs(draft: Draft, trees: dict[int, SumTree]) -> list[bytes]:
    proofs = []
    for number, tree in trees.items():
        wire, root_hash, value, blinding = tree.root
        subject = verifier.root_subject(tree.depth, root_hash)
        binding = verifier.proof_binding(draft.context, Role.ROOT, number, subject)
        proofs.append(range_proof(value, blinding, wire, binding))
    return proofs


def _lines(draft: Draft, trees: dict[int, SumTree], sums: Sums) -> list[AssetLine]:
    opened = draft.open_accounts
    lines = []
    for number, asset in enumerate(draft.snapshot.assets):
        borrows = sums.of(Role.BORROW, number)
        lines.append(
            AssetLine(
                credits=_public_tree(
                    trees[number], sums.of(Role.CREDIT, number), sum(a.credits[number] for a in opened)
                ),
                borrows_units=borrows.value + sum(a.borrows[number] for a in opened),
                borrows_blinding=borrows.blinding,
                holdings_units=sum(h.units for h in draft.snapshot.holdings if h.symbol == asset.symbol),
                rate_ppm=0,
            )
        )
    return lines


def _header(
    draft: Draft,
    trees: dict[int, SumTree],
    sums: Sums,
    records: Sequence[bytes],
    listed: int,
    body: bytes,
) -> bytes:
    """Write the header; the rates follow from the totals by the verifier's own formula."""
    snapshot, opened = draft.snapshot, draft.open_accounts
    debts, claims_owed = sums.of(Role.DEBT, CLAIMS_TREE), sums.of(Role.CLAIM, CLAIMS_TREE)
    lines = _lines(draft, trees, sums)
    unrated = Header(
        operator=draft.operator,
        epoch=snapshot.epoch,
        previous=snapshot.previous_hash,
        sequence=snapshot.sequence,
        time_ns=snapshot.time_ns,
        slot=snapshot.slot,
        assets=snapshot.assets,
        open_accounts=opened,
        context=draft.context,
        lines=tuple(lines),
        claims=_public_tree(trees[CLAIMS_TREE], claims_owed, sum(a.claim_usd6 for a in opened)),
        debts_usd6=debts.value + sum(a.debt_usd6 for a in opened),
        debts_blinding=debts.blinding,
        shortfall_usd6=sums.shortfall.value + sum(a.shortfall_usd6(snapshot.assets) for a in opened),
        shortfall_blinding=sums.shortfall.blinding,
        total_rate_ppm=0,
        debtor_count=len(records),
        listed_count=listed,
        debtors_root=verifier.debtors_root([verifier.debtor_hash(draft.context, r) for r in records]),
        holding_count=len(snapshot.holdings),
        body_hash=verifier.digest("body", body),
        hash=b"",
    )
    rated = [
        replace(line, rate_ppm=verifier.rate_ppm(line.holdings_units, unrated.net_units(number)))
        for number, line in enumerate(lines)
    ]
    total = verifier.rate_ppm(unrated.total_holdings_quanta(), unrated.total_net_quanta())
    return encode.header(replace(unrated, lines=tuple(rated), total_rate_ppm=total))


def prove(
    draft: Draft,
    master: MasterSecret,
    reserve_signatures: Sequence[ReserveSignature],
    *,
    workers: int = 1,
    pad_debtors: bool = False,
    progress: Progress | None = None,
) -> Epoch:
    """Prove the epoch; `reserve_signatures` answer `draft.challenges` in their order.

    Raises: SnapshotFault for a wrong signature of a reserve or a missing one, ProverFault if a sum does not
    fit. `workers` > 1 spreads the work over processes; they see blindings and amounts, never the master
    secret.
    """
    held = _held_accounts(draft, reserve_signatures)
    _check_reserve_signatures(draft, held)
    pool = (
        ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
        if workers > 1
        else nullcontext()
    )
    snapshot = draft.snapshot
    secret = master.epoch(draft.context, _balances_digest(snapshot))
    with pool as executor:
        witnesses = [
            debtors.witness(secret, draft.context, snapshot.assets, account, pad_debtors)
            for account in snapshot.accounts
            if account.is_debtor
        ]
        witnesses.sort(key=lambda debtor: debtor.tag)
        trees = _build_trees(
            draft, secret, [a for a in snapshot.accounts if not a.is_debtor], executor, progress
        )
        records = _prove_debtors(draft, witnesses, executor, progress)
    body = b"".join([*_root_proofs(draft, trees), *records, *map(encode.held_account, held)])
    listed = sum(debtor.listed for debtor in witnesses)
    header = _header(draft, trees, Sums(witnesses), records, listed, body)
    return Epoch(header, body, secret, trees, witnesses, records)


def _check_reserve_signatures(draft: Draft, held: Sequence[HeldAccount]) -> None:
    for account, challenge in zip(held, draft.challenges, strict=True):
        message = challenge.message if account.envelope is None else account.envelope
        verifier.check_key(account.owner)
        if challenge.message not in message or not verifier.signature_holds(
            account.owner, message, account.signature
        ):
            raise SnapshotFault(f"the owner of {account.account.hex()} did not sign this epoch's challenge")


__all__ = [
    "Challenge",
    "Draft",
    "Epoch",
    "ProverFault",
    "ReserveSignature",
    "UnknownCustomer",
    "begin",
    "prove",
]
