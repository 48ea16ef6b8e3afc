"""A proved epoch: the header and body for everybody, records for customers, leaves for an auditor.

Owns: what an epoch keeps after it is proved, the proofs made only when somebody asks, and their cache. All of
it but header and body is as secret as the balances. Must not know how an epoch is proved.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import msgspec

from solvency import encode, verifier
from solvency.curve import range_proof
from solvency.debtors import DebtorWitness, Opening, Sums
from solvency.keys import EpochSecret, Use, leaf_label
from solvency.tree import Level, SumTree, padded_size
from solvency.verifier import CLAIMS_TREE, IDENTITY, Role

_CACHED_SIBLINGS = 4096  # 21 MB: the upper levels, which every customer shares, stay


class UnknownCustomer(LookupError):
    """Say that an id has no balance in this epoch."""


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
        bundle = encode.bundle(self.header_bytes, signature, self.body)
        verifier.check_sums(bundle)
        return bundle

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
        salt, blinding = self._secret.derive(Use.LEAF, leaf_label(number, own_id))
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
            owed = Sums(self._witnesses).of(role, number)
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
                [
                    (a.role, a.tree, a.value, a.blinding.to_bytes(32, "big"))
                    for a in (*d.amounts, d.margin, d.remainder)
                ],
            )
            for d in self._witnesses
        ]
        return msgspec.msgpack.encode((self._secret.reveal(), self.header_bytes, self.body, trees, openings))

    @classmethod
    def load(cls, data: bytes) -> Epoch:
        """Rebuild an epoch from `dump`; a record then costs only its own proofs."""
        key, header, body, packed, openings = msgspec.msgpack.decode(data, type=_Dumped)
        trees = {
            number: SumTree(
                number,
                [tags[i : i + 32] for i in range(0, len(tags), 32)],
                [_level(*level) for level in levels],
            )
            for number, tags, levels in packed
        }
        witnesses = [_restored(*opening) for opening in openings]
        debtors_in = verifier.read_body(body, verifier.read_header(header)).debtors
        records = [debtor.raw for debtor in debtors_in]
        return cls(header, body, EpochSecret(key), trees, witnesses, records)


_DumpedLevel = tuple[bytes, bytes, bytes, bytes]
_DumpedAmount = tuple[int, int, int, bytes]
_Dumped = tuple[
    bytes,
    bytes,
    bytes,
    list[tuple[int, bytes, list[_DumpedLevel]]],
    list[tuple[bytes, bytes, bool, list[_DumpedAmount]]],
]


def _level(wires: bytes, hashes: bytes, values: bytes, blindings: bytes) -> Level:
    numbers = array("Q")
    numbers.frombytes(values)
    return Level(wires, hashes, numbers, blindings)


def _restored(tag: bytes, salt: bytes, listed: bool, amounts: list[_DumpedAmount]) -> DebtorWitness:
    *rows, margin, remainder = (
        Opening(Role(role), tree, value, int.from_bytes(blinding, "big"))
        for role, tree, value, blinding in amounts
    )
    return DebtorWitness(tag, salt, listed, tuple(rows), margin, remainder)
