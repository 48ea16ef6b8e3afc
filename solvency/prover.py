"""Make one epoch's proof: balances in, bundle out, records on demand.

Three steps, so that keys never come here:
1. `begin(snapshot, operator_key)` fixes the context and says which challenge each reserve owner must sign;
2. `prove(draft, master, reserve_signatures)` does the work (minutes at the large end; run it in a worker
process);
3. `epoch.seal(signature)` takes the operator's signature over `epoch.operator_message` and gives the bundle.
`epoch.record(customer_id)` answers customers for as long as the epoch's state is kept (`dump`, `load`).

Owns: the order of the work and the totals. Must not know the engine, a chain, a database, a clock or a
private key. A bundle is checked by the verifier before it leaves here, in all but the range proofs.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace

import msgspec

from solvency import debtors, encode, verifier
from solvency.curve import ProverFault, range_proof
from solvency.debtors import DebtorWitness
from solvency.keys import EpochSecret, MasterSecret, Use
from solvency.model import Balances, Snapshot, SnapshotFault, check_snapshot
from solvency.tree import Leaf, Level, SumTree, build, padded_size
from solvency.verifier import (
    CLAIMS_TREE,
    CURVE_ORDER,
    IDENTITY,
    AssetLine,
    Header,
    HeldAccount,
    OpenAccount,
    Role,
    Tree,
)

Progress = Callable[[str, int, int], None]  # stage, done, of how many
_CACHED_SIBLINGS = 4096  # 21 MB: the upper levels, which every customer shares, stay


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


class UnknownCustomer(LookupError):
    """Say that an id has no balance in this epoch."""


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


def _tree_label(number: int, own_id: bytes) -> bytes:
    return bytes((number,)) + own_id


def _leaves(secret: EpochSecret, draft: Draft, number: int, amounts: Sequence[tuple[str, int]]) -> list[Leaf]:
    leaves: list[Leaf] = []
    for customer_id, units in amounts:
        own_id = customer_id.encode("utf-8")
        salt, blinding = secret.derive(Use.LEAF, _tree_label(number, own_id))
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


@dataclass(slots=True)
class _Totals:
    """Add up one role of all debtors: amount, blinding, and the sum of the commitments."""

    value: int = 0
    blinding: int = 0

    def add(self, value: int, blinding: int) -> None:
        self.value += value
        self.blinding = (self.blinding + blinding) % CURVE_ORDER

    @property
    def wire(self) -> bytes:
        point = verifier.commit(self.value, self.blinding)
        return IDENTITY if point is None else verifier.save_point(point)


class _Sums:
    """Hold the sums over all debtors, by role and asset, and of the listed shortfalls."""

    def __init__(self, witnesses: Sequence[DebtorWitness]) -> None:
        self._by_role: dict[tuple[Role, int], _Totals] = {}
        self.shortfall = _Totals()
        for debtor in witnesses:
            for amount in debtor.amounts:
                self.of(amount.role, amount.tree).add(amount.value, amount.blinding)
            if debtor.listed:
                self.shortfall.add(debtor.margin.value, debtor.margin.blinding)

    def of(self, role: Role, tree: int) -> _Totals:
        return self._by_role.setdefault((role, tree), _Totals())


def _public_tree(tree: SumTree, owed: _Totals, in_clear: int) -> Tree:
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


class Epoch:
    """Hold a proved epoch: the header and body for everybody, and what records need (secret)."""

    def __init__(
        self, header: bytes, body: bytes, secret: EpochSecret, trees: dict[int, SumTree],
        witnesses: Sequence[DebtorWitness], records: Sequence[bytes],
    ) -> None:  # fmt: skip
        self.header_bytes = header
        self.body = body
        self.header = verifier.read_header(header)
        self._secret = secret
        self._trees = trees
        self._witnesses = list(witnesses)
        self._records = list(records)
        self._places = {debtor.tag: index for index, debtor in enumerate(self._witnesses)}
        self._leaf_hashes = [verifier.debtor_hash(self.header.context, record) for record in self._records]
        self._siblings: OrderedDict[tuple[int, int, int], bytes] = OrderedDict()
        self._debtor_proofs: dict[int, bytes] = {}

    def __repr__(self) -> str:
        return f"Epoch({self.header.epoch}, {self.hash.hex()})"

    @property
    def hash(self) -> bytes:
        """Return the bundle's hash: what the memo publishes and the next bundle names."""
        return self.header.hash

    @property
    def operator_message(self) -> bytes:
        """Return what the operator signs."""
        return verifier.operator_message(self.hash)

    @property
    def memo(self) -> str:
        """Return the text of the on-chain memo."""
        return verifier.memo_text(self.header.epoch, self.hash)

    def seal(self, signature: bytes) -> bytes:
        """Return the bundle; raise Rejected if the signature or a total is wrong, before anybody sees it."""
        verifier.check_head(self.header_bytes, signature)
        return encode.bundle(self.header_bytes, signature, self.body)

    def record(self, customer_id: str) -> bytes:
        """Return a customer's record: 88 kB at 17 levels an asset, made in the time of as many range proofs.

        Raises: UnknownCustomer if she has no balance in this epoch.
        """
        own_id = customer_id.encode("utf-8")
        salt, _ = self._secret.derive(Use.ACCOUNT, own_id)
        place = self._places.get(verifier.id_tag(self.header.context, verifier.ACCOUNT_TREE, salt, own_id))
        if place is not None:
            return self._debtor_record(own_id, place)
        paths = [path for number in self._trees if (path := self._path(number, own_id)) is not None]
        if not paths:
            raise UnknownCustomer(customer_id)
        return encode.record_start(self.hash, own_id, False) + encode.u8(len(paths)) + b"".join(paths)

    def _path(self, number: int, own_id: bytes) -> bytes | None:
        context, tree = self.header.context, self._trees[number]
        salt, blinding = self._secret.derive(Use.LEAF, _tree_label(number, own_id))
        index = tree.find(verifier.id_tag(context, number, salt, own_id))
        if index is None:
            return None
        value = tree.levels[0].values[index]
        out = [encode.u8(number), salt, encode.u64(value), encode.scalar(blinding), encode.u32(index)]
        for level, place in tree.siblings(index):
            wire, sibling_hash, _, _ = tree.levels[level].node(place)
            out += [wire, sibling_hash, self._sibling_proof(number, level, place)]
        if self.header.tree(number).debtors != IDENTITY:
            out.append(self._debtors_proof(number))
        return b"".join(out)

    def _debtors_proof(self, number: int) -> bytes:
        """Prove the sum of the debtors in range: for a path it is one more sibling, of the root."""
        if number not in self._debtor_proofs:
            role = Role.CLAIM if number == CLAIMS_TREE else Role.CREDIT
            owed = _Sums(self._witnesses).of(role, number)
            binding = verifier.proof_binding(
                self.header.context, Role.SIBLING, number, self.header.debtors_root
            )
            self._debtor_proofs[number] = range_proof(owed.value, owed.blinding, owed.wire, binding)
        return self._debtor_proofs[number]

    def _sibling_proof(self, number: int, level: int, place: int) -> bytes:
        key = (number, level, place)
        proof = self._siblings.pop(key, None)
        if proof is None:
            wire, node_hash, value, blinding = self._trees[number].levels[level].node(place)
            binding = verifier.proof_binding(self.header.context, Role.SIBLING, number, node_hash)
            proof = range_proof(value, blinding, wire, binding)
        self._siblings[key] = proof
        if len(self._siblings) > _CACHED_SIBLINGS:
            # Longest unused first: the upper siblings are used by every customer and stay.
            self._siblings.popitem(last=False)
        return proof

    def _debtor_record(self, own_id: bytes, place: int) -> bytes:
        debtor = self._witnesses[place]
        out = [
            encode.record_start(self.hash, own_id, True),
            debtor.salt,
            encode.u32(place),
            self._records[place],
        ]
        out += [encode.u64(a.value) + encode.scalar(a.blinding) for a in debtor.amounts]
        level, index = list(self._leaf_hashes), place
        level += [bytes(32)] * (padded_size(len(level)) - len(level))
        while len(level) > 1:
            out.append(level[index ^ 1])
            level = [verifier.digest("debtor-node", level[i], level[i + 1]) for i in range(0, len(level), 2)]
            index >>= 1
        return b"".join(out)

    def audit(self, number: int) -> Iterator[bytes]:
        """Yield every leaf of a tree with its range proof (5,191 bytes, some 5 ms each) for `check_audit`."""
        tree = self._trees[number]
        for index, tag in enumerate(tree.tags):
            wire, value_hash, value, blinding = tree.levels[0].node(index)
            binding = verifier.proof_binding(self.header.context, Role.LEAF, number, value_hash)
            yield tag + wire + range_proof(value, blinding, wire, binding)

    def dump(self) -> bytes:
        """Return what `load` needs to answer customers later: as secret as the balances themselves."""
        trees = [
            (
                tree.number,
                b"".join(tree.tags),
                [
                    (level.wires, level.hashes, level.values.tobytes(), level.blindings)
                    for level in tree.levels
                ],
            )
            for tree in self._trees.values()
        ]
        openings = [
            (
                d.tag,
                d.salt,
                d.listed,
                [(a.role, a.tree, a.value, a.blinding.to_bytes(32, "big")) for a in d.amounts],
            )
            for d in self._witnesses
        ]
        return msgspec.msgpack.encode(
            (self._secret.reveal(), self.header_bytes, self.body, trees, openings, self._records)
        )

    @classmethod
    def load(cls, data: bytes) -> Epoch:
        """Rebuild an epoch from `dump`; a record then costs only its own proofs."""
        key, header, body, packed, openings, records = msgspec.msgpack.decode(data, type=_Dumped)
        trees = {
            number: SumTree(
                number,
                [tags[i : i + 32] for i in range(0, len(tags), 32)],
                [_level(*level) for level in levels],
            )
            for number, tags, levels in packed
        }
        witnesses = [_restored(*opening) for opening in openings]
        return cls(header, body, EpochSecret(key), trees, witnesses, records)


_DumpedLevel = tuple[bytes, bytes, bytes, bytes]
_DumpedAmount = tuple[int, int, int, bytes]
_Dumped = tuple[
    bytes,
    bytes,
    bytes,
    list[tuple[int, bytes, list[_DumpedLevel]]],
    list[tuple[bytes, bytes, bool, list[_DumpedAmount]]],
    list[bytes],
]


def _level(wires: bytes, hashes: bytes, values: bytes, blindings: bytes) -> Level:
    numbers = array("Q")
    numbers.frombytes(values)
    return Level(wires, hashes, numbers, blindings)


def _restored(tag: bytes, salt: bytes, listed: bool, amounts: list[_DumpedAmount]) -> DebtorWitness:
    rows = tuple(
        debtors.Opening(Role(role), tree, value, int.from_bytes(blinding, "big"))
        for role, tree, value, blinding in amounts
    )
    unused = debtors.Opening(Role.MARGIN, verifier.ACCOUNT_TREE, 0, 1)
    return DebtorWitness(tag, salt, listed, rows, unused, unused)


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


def _lines(draft: Draft, trees: dict[int, SumTree], sums: _Sums) -> list[AssetLine]:
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
    sums: _Sums,
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
    header = _header(draft, trees, _Sums(witnesses), records, listed, body)
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
