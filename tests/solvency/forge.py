"""A small honest exchange, and the tools of a dishonest operator: everything signed anew by her own key."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from solvency import encode, prover, verifier
from solvency.curve import range_proof
from solvency.keys import MasterSecret
from solvency.model import Balances, Holding, Snapshot
from solvency.verifier import Amount, Asset, Body, Debtor, Header, Role


def key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def public(name: str) -> bytes:
    return key(name).public_key().public_bytes_raw()


OPERATOR = "operator"
MASTER = MasterSecret(hashlib.sha256(b"master").digest())
ASSETS = (
    Asset("USDC", b"\x01" * 32, 6, 10**8, 10**6),
    Asset("SOL", bytes(32), 9, 150 * 10**8, 900_000),
    Asset("BTC", b"\x02" * 32, 8, 100_000 * 10**8, 950_000),
)
PLAIN = (
    Balances("1/0", {"USDC": 1_000_000_000, "SOL": 5_000_000_000}),
    Balances("2/0", {"USDC": 250_000_001}),
    Balances("3/0", {"USDC": 3, "BTC": 50_000_000}, claim_usd6=40_000_000),
    Balances("4/0", {"SOL": 7_000_000_000}),
)
# 10/0: 0.1 BTC against 2 SOL. 11/0: solvent with two debts. 12/0: below zero by 60 dollars.
DEBTORS = (
    Balances("10/0", {"USDC": 5, "BTC": 10_000_000}, {"SOL": 2_000_000_000}),
    Balances("11/0", {"SOL": 10_000_000_000}, {"USDC": 100_000_000}, 0, 20_000_000),
    Balances("12/0", {"USDC": 40_000_000}, {}, 0, 100_000_000),
)
OPEN = (Balances("fees", {"USDC": 7_000_000}), Balances("insurance_fund", {"USDC": 25_000_000}))
HOLDINGS = (
    Holding("USDC", b"\x11" * 32, public("hot"), 1_300_000_000),
    Holding("SOL", public("hot"), public("hot"), 30_000_000_000),
    Holding("BTC", b"\x12" * 32, public("cold"), 60_000_000),
)
NAMES = {public(name): name for name in ("hot", "cold", "other")}


def snapshot(**changes: object) -> Snapshot:
    base = Snapshot(
        1, bytes(32), 1000, 1_700_000_000 * 10**9, 5000, ASSETS, (*PLAIN, *DEBTORS), OPEN, HOLDINGS
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def sign_reserves(draft: prover.Draft) -> list[prover.ReserveSignature]:
    return [prover.ReserveSignature(key(NAMES[c.owner]).sign(c.message)) for c in draft.challenges]


def prove(moment: Snapshot, *, operator: str = OPERATOR, workers: int = 1, **options: object) -> prover.Epoch:
    draft = prover.begin(moment, public(operator))
    return prover.prove(draft, MASTER, sign_reserves(draft), workers=workers, **options)  # type: ignore[arg-type]


def seal(epoch: prover.Epoch, operator: str = OPERATOR) -> bytes:
    return epoch.seal(key(operator).sign(epoch.operator_message))


@functools.cache
def honest() -> tuple[prover.Epoch, bytes]:
    epoch = prove(snapshot())
    return epoch, seal(epoch)


@functools.cache
def second() -> tuple[prover.Epoch, bytes]:
    """The epoch after the honest one, an hour and some deposits later."""
    first, _ = honest()
    moved = (replace(PLAIN[0], credits={"USDC": 1_500_000_000}), *PLAIN[1:])
    epoch = prove(
        snapshot(
            epoch=2, previous_hash=first.hash, sequence=1200, slot=6000, time_ns=1_700_000_600 * 10**9,
            accounts=(*moved, *DEBTORS),
        )
    )  # fmt: skip
    return epoch, seal(epoch)


def debtor_bytes(debtor: Debtor) -> bytes:
    rows = [(a.role, a.tree, a.wire, a.proof) for a in debtor.amounts]
    margin = (debtor.margin.wire, debtor.margin.proof)
    return encode.debtor_record(debtor.tag, debtor.listed, rows, margin, debtor.remainder_proof)


def body_bytes(body: Body) -> bytes:
    return b"".join(
        [
            *body.root_proofs,
            *(debtor_bytes(d) for d in body.debtors),
            *map(encode.held_account, body.holdings),
        ]
    )


def sign_header(header: bytes, body: bytes, operator: str = OPERATOR) -> bytes:
    signature = key(operator).sign(verifier.operator_message(verifier.bundle_hash(header)))
    return encode.bundle(header, signature, body)


def with_true_rates(header: Header) -> Header:
    lines = tuple(
        replace(line, rate_ppm=verifier.rate_ppm(line.holdings_units, header.net_units(number)))
        for number, line in enumerate(header.lines)
    )
    total = verifier.rate_ppm(header.total_holdings_quanta(), header.total_net_quanta())
    return replace(header, lines=lines, total_rate_ppm=total)


def forged(
    bundle: bytes,
    change_header: Callable[[Header], Header] = lambda header: header,
    change_body: Callable[[Body], Body] = lambda body: body,
    *,
    rates: bool = True,
    counts: bool = True,
) -> bytes:
    """Change what is said, then make all consistent that needs no proof: hashes, counts, rates, signature."""
    header_bytes, _, raw = verifier.split_bundle(bundle)
    header = verifier.read_header(header_bytes)
    body = change_body(verifier.read_body(raw, header))
    header = change_header(header)
    new_raw = body_bytes(body)
    context = verifier.digest(
        "context",
        encode.header_start(
            header.operator, header.epoch, header.previous, (header.sequence, header.time_ns, header.slot),
            header.assets, header.open_accounts,
        ),
    )  # fmt: skip
    header = replace(
        header,
        context=context,
        debtors_root=verifier.debtors_root(
            [verifier.debtor_hash(context, debtor_bytes(d)) for d in body.debtors]
        ),
        body_hash=verifier.digest("body", new_raw),
    )
    if counts:
        header = replace(
            header, debtor_count=len(body.debtors), listed_count=sum(d.listed for d in body.debtors),
            holding_count=len(body.holdings),
        )  # fmt: skip
    if rates:
        header = with_true_rates(header)
    return sign_header(encode.header(header), new_raw)


def commit_any(value: int, blinding: int) -> bytes:
    """Commit to any integer modulo the group order: what a cheat can do and the prover refuses."""
    value %= verifier.CURVE_ORDER
    one = verifier.commit(1, 0)
    point = verifier.add_points([verifier.multiply_point(one, value), verifier.commit(0, blinding)])
    assert point is not None
    return verifier.save_point(point)


def proof_of(value: int, blinding: int, binding: bytes) -> bytes:
    return range_proof(value, blinding, commit_any(value, blinding), binding)


def amount(context: bytes, tag: bytes, role: Role, tree: int, value: int, blinding: int) -> Amount:
    """Commit to any value; the proof is the best a cheat can get: one for a value that is in range."""
    binding = verifier.proof_binding(context, role, tree, tag)
    return Amount(role, tree, commit_any(value, blinding), proof_of(value % 2**63, blinding, binding))


@dataclass
class CheatTree:
    """A sum tree over any integers."""

    context: bytes
    number: int
    leaves: list[tuple[bytes, int, int]]  # tag, value, blinding

    def levels(self) -> list[list[tuple[bytes, bytes, int, int]]]:
        rows = []
        row = []
        for tag, value, blinding in self.leaves:
            wire = commit_any(value, blinding)
            row.append((wire, verifier.leaf_hash(self.context, self.number, tag, wire), value, blinding))
        rows.append(row)
        while len(row) > 1:
            above = []
            for left, right in zip(row[::2], row[1::2], strict=True):
                value, blinding = left[2] + right[2], left[3] + right[3]
                node_hash = verifier.node_hash(left[0], right[0], left[1], right[1])
                above.append((commit_any(value, blinding), node_hash, value, blinding))
            row = above
            rows.append(row)
        return rows

    def public_tree(self, in_clear: int = 0) -> verifier.Tree:
        rows = self.levels()
        wire, root_hash, value, blinding = rows[-1][0]
        return verifier.Tree(len(rows) - 1, wire, root_hash, verifier.IDENTITY, value + in_clear, blinding)

    def root_proof(self) -> bytes:
        rows = self.levels()
        _, root_hash, value, blinding = rows[-1][0]
        subject = verifier.root_subject(len(rows) - 1, root_hash)
        binding = verifier.proof_binding(self.context, Role.ROOT, self.number, subject)
        return proof_of(value % 2**64, blinding, binding)

    def record(self, header_hash: bytes, customer_id: str, index: int, salt: bytes) -> bytes:
        own_id = customer_id.encode()
        rows = self.levels()
        _, value, blinding = self.leaves[index]
        out = [encode.record_start(header_hash, own_id, False), b"\x01", bytes((self.number,)), salt]
        out += [encode.u64(value), encode.scalar(blinding), encode.u32(index)]
        for level in range(len(rows) - 1):
            wire, node_hash, sibling_value, sibling_blinding = rows[level][(index >> level) ^ 1]
            binding = verifier.proof_binding(self.context, Role.SIBLING, self.number, node_hash)
            out += [wire, node_hash, proof_of(sibling_value % 2**64, sibling_blinding, binding)]
        return b"".join(out)
