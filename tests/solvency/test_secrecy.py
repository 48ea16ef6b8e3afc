"""What a bundle and a record reveal, byte by byte; a field that is not on these lists fails the test.

Each byte of a bundle and of a record is attributed to a named field. A field is either on the list of what
is meant to be public, or it is hidden: then it must look fresh in every epoch and depend on a secret.
"""

from __future__ import annotations

import dataclasses
import logging
import pickle
import statistics

import pytest

from solvency import curve, debtors, keys, prover, verifier
from solvency.keys import EpochSecret, MasterSecret, Use
from solvency.model import Balances
from solvency.verifier import Header, Role
from tests.solvency import forge

# Every field of every structure on the wire, and what it tells. "hidden": commitment, proof, salted hash.
HEADER_DISCLOSES = {
    "operator": "the operator's key",
    "epoch": "the number",
    "previous": "the last bundle's hash",
    "sequence": "the engine's sequence number",
    "time_ns": "the time",
    "slot": "the slot of the holdings",
    "assets": "symbol, identity, decimals, price, weight",
    "open_accounts": "the exchange's own accounts, in clear",
    "context": "derived, not sent",
    "lines": "per asset: tree, total of borrows, holdings, rate",
    "claims": "tree and total of claims",
    "debts_usd6": "total of debts",
    "debts_blinding": "opens that total",
    "shortfall_usd6": "total outstanding negative equity",
    "shortfall_blinding": "opens that total",
    "total_rate_ppm": "the rate",
    "debtor_count": "how many accounts have debt",
    "listed_count": "how many are below zero",
    "debtors_root": "hidden",
    "holding_count": "how many reserve accounts",
    "body_hash": "hidden",
    "hash": "derived",
}
STRUCTURES: dict[type, dict[str, str]] = {
    verifier.Header: HEADER_DISCLOSES,
    verifier.Asset: dict.fromkeys(("symbol", "identity", "decimals", "price_e8", "weight_ppm"), "public"),
    verifier.Tree: {
        "depth": "log2 of the holders, rounded up",
        "plain": "hidden",
        "plain_hash": "hidden",
        "debtors": "hidden",
        "total": "the total",
        "blinding": "opens the total",
    },
    verifier.AssetLine: {
        "credits": "tree",
        "borrows_units": "the total",
        "borrows_blinding": "opens it",
        "holdings_units": "the total",
        "rate_ppm": "the rate",
    },
    verifier.OpenAccount: dict.fromkeys(("name", "credits", "borrows", "claim_usd6", "debt_usd6"), "public"),
    verifier.Debtor: {
        "tag": "hidden",
        "listed": "below zero or not",
        "amounts": "which assets, not how much",
        "margin": "hidden",
        "remainder_proof": "hidden",
        "raw": "the same bytes",
    },
    verifier.Amount: {"role": "which", "tree": "which", "wire": "hidden", "proof": "hidden"},
    verifier.HeldAccount: dict.fromkeys(
        ("tree", "account", "owner", "units", "envelope", "signature"), "public"
    ),
    verifier.Body: {"root_proofs": "hidden", "debtors": "see Debtor", "holdings": "see HeldAccount"},
}

U64, POINT, SCALAR, HASH, PROOF = 8, 33, 32, 32, verifier.PROOF_SIZE
TREE = 1 + POINT + HASH + POINT + U64 + SCALAR


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda structure: structure.__name__)
def test_no_field_is_published_without_being_on_the_list(structure: type) -> None:
    assert [field.name for field in dataclasses.fields(structure)] == list(STRUCTURES[structure])


def header_size(header: Header) -> int:
    assets = sum(1 + len(asset.symbol) + 32 + 1 + 8 + 4 for asset in header.assets)
    opened = sum(1 + len(a.name) + 16 * len(header.assets) + 16 for a in header.open_accounts)
    start = 8 + 32 + 8 + 32 + 8 + 8 + 8 + 1 + assets + 1 + opened
    lines = len(header.assets) * (TREE + U64 + SCALAR + U64 + U64)
    return start + lines + TREE + 2 * (U64 + SCALAR) + U64 + 4 + 4 + HASH + 4 + HASH


def debtor_size(debtor: verifier.Debtor) -> int:
    named = sum(a.role in (Role.CREDIT, Role.BORROW) for a in debtor.amounts)
    return HASH + 1 + 4 + named + len(debtor.amounts) * (POINT + PROOF) + POINT + PROOF + PROOF


def test_every_byte_of_a_bundle_belongs_to_a_listed_field() -> None:
    bundle = forge.honest()[1]
    header_bytes, signature, raw = verifier.split_bundle(bundle)
    checked = verifier.check_bundle(bundle)
    header, body = checked.header, checked.body
    assert len(header_bytes) == header_size(header)
    held = len(body.holdings) * (1 + 32 + 32 + U64 + 1 + 64)
    proofs = (len(header.assets) + 1) * PROOF
    assert len(raw) == proofs + sum(map(debtor_size, body.debtors)) + held
    assert len(bundle) == 4 + len(header_bytes) + len(signature) + len(raw)


@pytest.mark.parametrize(("customer_id", "trees"), [("1/0", (0, 1)), ("3/0", (0, 2, 255))])
def test_every_byte_of_a_record_belongs_to_a_listed_field(customer_id: str, trees: tuple[int, ...]) -> None:
    """Her id, salt, amount, blinding, index; and per level a hidden point, a hash and a proof."""
    epoch, _ = forge.honest()
    depths = [epoch.header.tree(number).depth for number in trees]
    paths = sum(1 + HASH + U64 + SCALAR + 4 + depth * (POINT + HASH + PROOF) for depth in depths)
    paths += sum(PROOF for number in trees if epoch.header.tree(number).debtors != verifier.IDENTITY)
    assert len(epoch.record(customer_id)) == 8 + HASH + 1 + len(customer_id) + 1 + 1 + paths


def test_every_byte_of_a_debtors_record_belongs_to_a_listed_field() -> None:
    epoch, bundle = forge.honest()
    debtor = next(d for d in verifier.check_bundle(bundle).body.debtors if d.listed)
    openings = len(debtor.amounts) * (U64 + SCALAR)
    size = 8 + HASH + 1 + 4 + 1 + HASH + 4 + debtor_size(debtor) + openings + 2 * HASH
    assert len(epoch.record("12/0")) == size


def hidden_fields(bundle: bytes) -> dict[str, bytes]:
    checked = verifier.check_bundle(bundle)
    header, body = checked.header, checked.body
    fields = {f"tree {n} plain": header.tree(n).plain for n in (0, 1, 2, 255)}
    fields |= {f"tree {n} hash": header.tree(n).plain_hash for n in (0, 1, 2, 255)}
    fields |= {f"tree {n} debtors": header.tree(n).debtors for n in (0, 1, 2)}
    fields |= {f"tree {n} blinding": header.tree(n).blinding.to_bytes(32, "big") for n in (0, 1, 2, 255)}
    for i, debtor in enumerate(body.debtors):
        fields[f"debtor {i} tag"] = debtor.tag
        fields |= {f"debtor {i} {a.role} {a.tree}": a.wire for a in (*debtor.amounts, debtor.margin)}
    return fields


def test_nothing_shows_whether_an_account_moved() -> None:
    """Two epochs of the same balances share no hidden byte string, and no order of debtors."""
    one = hidden_fields(forge.honest()[1])
    again = forge.prove(
        forge.snapshot(epoch=2, previous_hash=forge.honest()[0].hash, time_ns=1_700_000_600 * 10**9)
    )
    two = hidden_fields(forge.seal(again))
    assert not set(one.values()) & set(two.values())


def test_a_second_attempt_at_an_epoch_shares_no_blinding() -> None:
    """Same context, one balance changed: equal blindings would show the difference of every leaf."""
    changed = (
        dataclasses.replace(forge.PLAIN[0], credits={"USDC": 1_000_000_001}),
        *forge.PLAIN[1:],
        *forge.DEBTORS,
    )
    other = forge.prove(forge.snapshot(accounts=changed))
    assert other.header.context == forge.honest()[0].header.context
    assert not set(hidden_fields(forge.seal(other)).values()) & set(hidden_fields(forge.honest()[1]).values())
    same = forge.prove(forge.snapshot())
    assert same.header.lines == forge.honest()[0].header.lines  # and the very same epoch is rebuilt exactly


def test_empty_leaves_look_like_any() -> None:
    """A padding leaf is a blinded commitment to zero under a random tag, somewhere among the others."""
    tree = forge.honest()[0]._trees[0]
    values = list(tree.levels[0].values)
    assert 0 in values
    wires = [tree.levels[0].node(i)[0] for i in range(len(values))]
    assert len(set(wires)) == len(wires)
    assert tree.tags == sorted(tree.tags)


def test_a_record_shows_nobody_elses_amount() -> None:
    """No other customer's amount, id or tag stands in her record in any width that we use."""
    epoch, _ = forge.honest()
    record = epoch.record("2/0")
    start = 8 + HASH + 1 + 3
    for account in (*forge.PLAIN, *forge.DEBTORS):
        if account.customer_id == "2/0":
            continue
        assert account.customer_id.encode() not in record[:start]
        for units in (*account.credits.values(), *account.borrows.values(), account.debt_usd6):
            if units > 2**16:
                assert units.to_bytes(8, "big") not in record


def test_proofs_are_as_long_for_nothing_as_for_everything() -> None:
    sizes = {len(curve.range_proof(v, 9, curve.commitment(v, 9), b"")) for v in (0, 1, 2**32, 2**64 - 1)}
    assert sizes == {PROOF}


def test_a_proof_made_twice_shares_no_scalar() -> None:
    """The nonce is fresh. One nonce under two texts would give two equations in one unknown."""
    wire = curve.commitment(77, 9)
    one, two = (curve.range_proof(77, 9, wire, text) for text in (b"a", b"b"))
    pieces = [{proof[i : i + 32] for i in range(6, PROOF - 31, 32)} for proof in (one, two)]
    assert not pieces[0] & pieces[1]


def test_a_proof_does_not_weigh_its_value() -> None:
    """A crude statistic that would see a plain encoding: mean bytes of proofs of 0 and 2^64 − 1 agree."""

    def mean(value: int) -> float:
        proofs = [curve.range_proof(value, 9, curve.commitment(value, 9), b"") for _ in range(8)]
        return statistics.fmean(b for proof in proofs for b in proof[6:])

    assert abs(mean(0) - mean(2**64 - 1)) < 2.5


@pytest.mark.parametrize("secret", [MasterSecret(b"\x41" * 32), EpochSecret(b"\x41" * 32)], ids=repr)
def test_secrets_stay_out_of_repr_logs_and_pickles(
    secret: MasterSecret | EpochSecret, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("x").warning("secret %r %s %s", secret, secret, [secret])
    shown = caplog.text + repr(secret) + str(secret) + f"{secret}" + repr([secret])
    assert "AAAA" not in shown
    assert b"AAAA".hex() not in shown
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)
    assert not hasattr(secret, "__dict__")
    with pytest.raises(ValueError, match="32 bytes"):
        type(secret)(b"short")


def test_an_epoch_and_a_fault_do_not_print_balances() -> None:
    epoch, _ = forge.honest()
    tree = epoch._trees[0]
    for secret in (epoch._witnesses[0], epoch._witnesses[0].margin, tree, tree.levels[0]):
        assert " object at 0x" in repr(secret)
    assert " object at 0x" in repr(prover.begin(forge.snapshot(), forge.public(forge.OPERATOR)))
    assert repr(epoch) == f"Epoch(1, {epoch.hash.hex()})"
    with pytest.raises(prover.ProverFault) as caught:
        curve.commitment(2**64 + 123_456_789, 5)
    assert "123456789" not in str(caught.value)


def test_a_master_secret_gives_each_use_its_own_bytes() -> None:
    secret = MasterSecret(b"\x01" * 32).epoch(b"c" * 32, b"d" * 32)
    seen = {secret.derive(use, label) for use in Use for label in (b"", b"a", b"b")}
    assert len(seen) == 3 * len(Use)
    assert MasterSecret(b"\x01" * 32).epoch(b"x" * 32, b"d" * 32).reveal() != secret.reveal()
    assert repr(MasterSecret.generate()) == "MasterSecret(hidden)"
    assert keys.MasterSecret.__slots__ == ("_MasterSecret__key",) or keys.MasterSecret.__slots__ == ("__key",)


def test_a_padded_debtor_commits_to_zero_under_blindings_of_its_own() -> None:
    secret = MasterSecret(b"\x01" * 32).epoch(b"c" * 32, b"d" * 32)
    account = Balances("1/0", {"USDC": 5}, {"SOL": 1})
    witness = debtors.witness(secret, b"c" * 32, forge.ASSETS, account, padded=True)
    assert len(witness.amounts) == 2 * len(forge.ASSETS) + 2
    assert len({a.blinding for a in witness.amounts}) == len(witness.amounts)
