"""The public proof of an account with a debt.

Owns: the amounts that a debtor record commits to, its margin and its remainder, and making its range proofs
(in worker processes if asked). Formula: equity = Σ credits × held + claim × 10^17 − Σ borrows × owed − debt
× 10^17 in usd6 / 10^17; the margin is the equity in whole usd6 rounded down or, for an account below zero,
the shortfall rounded up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from solvency import encode, verifier
from solvency.curve import commitment, range_proof
from solvency.keys import EpochSecret, Use
from solvency.model import Balances
from solvency.verifier import ACCOUNT_TREE, CLAIMS_TREE, CURVE_ORDER, IDENTITY, QUANTA_PER_USD6, Asset, Role


@dataclass(frozen=True, slots=True, repr=False)
class Opening:
    """Hold one amount of a debtor with what hides it; secret, so without a repr."""

    role: Role
    tree: int
    value: int
    blinding: int


@dataclass(frozen=True, slots=True, repr=False)
class DebtorWitness:
    """Hold all that proves one debtor: secret, for a worker process and the customer's record."""

    tag: bytes
    salt: bytes
    listed: bool
    amounts: tuple[Opening, ...]
    margin: Opening
    remainder: Opening


def _signed_quanta(assets: Sequence[Asset], role: Role, tree: int) -> int:
    if role is Role.CREDIT:
        return assets[tree].quanta_held
    if role is Role.BORROW:
        return -assets[tree].quanta_owed
    return QUANTA_PER_USD6 if role is Role.CLAIM else -QUANTA_PER_USD6


def _amounts(account: Balances, assets: Sequence[Asset], padded: bool) -> list[tuple[Role, int, int]]:
    rows = [(Role.CREDIT, tree, account.credits.get(asset.symbol, 0)) for tree, asset in enumerate(assets)]
    rows += [(Role.BORROW, tree, account.borrows.get(asset.symbol, 0)) for tree, asset in enumerate(assets)]
    rows += [(Role.CLAIM, CLAIMS_TREE, account.claim_usd6), (Role.DEBT, CLAIMS_TREE, account.debt_usd6)]
    return [row for row in rows if row[2] or padded]


def witness(
    secret: EpochSecret, context: bytes, assets: Sequence[Asset], account: Balances, padded: bool = False
) -> DebtorWitness:
    """Work out a debtor's record; `padded` hides which assets she has behind commitments to zero."""
    own_id = account.customer_id.encode("utf-8")
    salt, _ = secret.derive(Use.ACCOUNT, own_id)
    amounts: list[Opening] = []
    equity = blinding_sum = 0
    for role, tree, value in _amounts(account, assets, padded):
        _, blinding = secret.derive(Use.AMOUNT, bytes((role, tree)) + own_id)
        amounts.append(Opening(role, tree, value, blinding))
        factor = _signed_quanta(assets, role, tree)
        equity += factor * value
        blinding_sum += factor * blinding
    listed = equity < 0
    margin_usd6 = -(equity // QUANTA_PER_USD6) if listed else equity // QUANTA_PER_USD6
    _, margin_blinding = secret.derive(Use.MARGIN, own_id)
    sign = QUANTA_PER_USD6 if listed else -QUANTA_PER_USD6
    remainder = Opening(
        Role.REMAINDER,
        ACCOUNT_TREE,
        equity + sign * margin_usd6,
        (blinding_sum + sign * margin_blinding) % CURVE_ORDER,
    )
    margin = Opening(Role.MARGIN, ACCOUNT_TREE, margin_usd6, margin_blinding)
    tag = verifier.id_tag(context, ACCOUNT_TREE, salt, own_id)
    return DebtorWitness(tag, salt, listed, tuple(amounts), margin, remainder)


def _prove(context: bytes, tag: bytes, opening: Opening) -> tuple[bytes, bytes]:
    wire = commitment(opening.value, opening.blinding)
    binding = verifier.proof_binding(context, opening.role, opening.tree, tag)
    return wire, range_proof(opening.value, opening.blinding, wire, binding)


def prove_debtor(context: bytes, debtor: DebtorWitness) -> bytes:
    """Return the debtor record: its commitments with their range proofs."""
    amounts = [
        (opening.role, opening.tree, *_prove(context, debtor.tag, opening)) for opening in debtor.amounts
    ]
    margin = _prove(context, debtor.tag, debtor.margin)
    _, remainder_proof = _prove(context, debtor.tag, debtor.remainder)
    return encode.debtor_record(debtor.tag, debtor.listed, amounts, margin, remainder_proof)


@dataclass(slots=True)
class Totals:
    """Add up one role of all debtors: amount, blinding, and the sum of the commitments."""

    value: int = 0
    blinding: int = 0

    def add(self, value: int, blinding: int) -> None:
        """Add one amount and its blinding."""
        self.value += value
        self.blinding = (self.blinding + blinding) % CURVE_ORDER

    @property
    def wire(self) -> bytes:
        """Return the commitment to the sum, or the identity if nothing was added."""
        point = verifier.commit(self.value, self.blinding)
        return IDENTITY if point is None else verifier.save_point(point)


class Sums:
    """Hold the sums over all debtors, by role and asset, and of the listed shortfalls."""

    def __init__(self, witnesses: Sequence[DebtorWitness]) -> None:
        self._by_role: dict[tuple[Role, int], Totals] = {}
        self.shortfall = Totals()
        for debtor in witnesses:
            for amount in debtor.amounts:
                self.of(amount.role, amount.tree).add(amount.value, amount.blinding)
            if debtor.listed:
                self.shortfall.add(debtor.margin.value, debtor.margin.blinding)

    def of(self, role: Role, tree: int) -> Totals:
        """Return the sum of one role in one asset."""
        return self._by_role.setdefault((role, tree), Totals())
