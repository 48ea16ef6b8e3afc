"""Soundness by attack: what a dishonest operator can do with her own key, and the reason each is refused.

The operator here signs anything, forges every hash, count, sum and rate consistently (`forge.forged`), and
attaches the best proof she can make. Each test is one attack on one claim of docs/SOLVENCY.md.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from solvency import curve, encode, prover, verifier
from solvency.debtors import _signed_quanta
from solvency.model import Balances, Holding
from solvency.verifier import CLAIMS_TREE, CURVE_ORDER, Anchors, Body, Debtor, Header, Reason, Role
from tests.solvency import forge

HONEST = forge.honest()[1]


@contextmanager
def refused(reason: Reason) -> Iterator[None]:
    with pytest.raises(verifier.Rejected) as caught:
        yield
    assert caught.value.reason is reason, caught.value


def head(bundle: bytes) -> Header:
    return verifier.check_head(*verifier.split_bundle(bundle)[:2])


def read(bundle: bytes = HONEST) -> tuple[Header, Body]:
    header_bytes, _, raw = verifier.split_bundle(bundle)
    header = verifier.read_header(header_bytes)
    return header, verifier.read_body(raw, header)


def with_line(number: int, **changes: object) -> Callable[[Header], Header]:
    def change(header: Header) -> Header:
        lines = list(header.lines)
        lines[number] = replace(lines[number], **changes)  # type: ignore[arg-type]
        return replace(header, lines=tuple(lines))

    return change


def with_tree(number: int, **changes: object) -> Callable[[Header], Header]:
    def change(header: Header) -> Header:
        tree = replace(header.tree(number), **changes)  # type: ignore[arg-type]
        if number == CLAIMS_TREE:
            return replace(header, claims=tree)
        return with_line(number, credits=tree)(header)

    return change


def debtor_of(customer_id: str, epoch: prover.Epoch | None = None) -> Debtor:
    epoch = epoch or forge.honest()[0]
    record = epoch.record(customer_id)
    start = 8 + 32 + 1 + len(customer_id) + 1
    reader = verifier.Reader(record, start + 36)
    return verifier.read_debtor(reader, len(epoch.header.assets))


def swap_debtor(old: Debtor, new: Debtor) -> Callable[[Body], Body]:
    def change(body: Body) -> Body:
        debtors = [new if debtor.tag == old.tag else debtor for debtor in body.debtors]
        return replace(body, debtors=tuple(sorted(debtors, key=lambda debtor: debtor.tag)))

    return change


# ---------------------------------------------------------------- hide a liability


def cheat_tree(values: list[int], header: Header, number: int = 0) -> tuple[forge.CheatTree, list[bytes]]:
    salts = [bytes((i,)) * 32 for i in range(len(values))]
    leaves = []
    for i, value in enumerate(values):
        tag = verifier.id_tag(header.context, number, salts[i], f"{i}/0".encode())
        leaves.append((tag, value, 1000 + i))
    return forge.CheatTree(header.context, number, leaves), salts


def bundle_with_tree(tree: forge.CheatTree) -> bytes:
    """A bundle whose USDC tree is the cheat's, and whose public part is beyond reproach."""
    moment = forge.snapshot(accounts=())
    epoch = forge.prove(moment)
    in_clear = sum(a.credits.get("USDC", 0) for a in forge.OPEN)
    assert epoch.header.context == tree.context
    cheated = tree.public_tree(in_clear)

    def change_body(body: Body) -> Body:
        return replace(body, root_proofs=(tree.root_proof(), *body.root_proofs[1:]))

    return forge.forged(forge.seal(epoch), with_line(0, credits=cheated), change_body)


def cheat_header() -> Header:
    return forge.prove(forge.snapshot(accounts=())).header


@pytest.mark.parametrize(
    "hidden",
    [-600, -600 - 2**64, CURVE_ORDER - 600, 2**64, 2**64 + 5],
    ids=["negative", "very negative", "modular wrap", "2^64", "2^64 + 5"],
)
def test_a_leaf_outside_the_range_is_seen_by_its_sibling(hidden: int) -> None:
    """Hide a liability: one leaf below zero (or wrapped, or past 64 bits) lowers the total of the asset."""
    tree, salts = cheat_tree([1000, hidden, 500, 300], cheat_header())
    if hidden in (-600,):  # the total is still in range: nothing public shows it
        bundle = bundle_with_tree(tree)
        verifier.check_bundle(bundle)
        header = head(bundle)
        with refused(Reason.SIBLING_NOT_IN_RANGE):
            verifier.check_record(header, tree.record(header.hash, "0/0", 0, salts[0]), "0/0")
        # The far half sees only their sum of 400 and is content: this is 0/0's balance made smaller by 600,
        # and it is 0/0 who sees it.
        verifier.check_record(header, tree.record(header.hash, "2/0", 2, salts[2]), "2/0")
    else:
        rows = tree.levels()
        wire, node_hash, _, blinding = rows[0][1]
        binding = verifier.proof_binding(tree.context, Role.SIBLING, 0, node_hash)
        proof = forge.proof_of(hidden % 2**64, blinding, binding)
        assert not verifier.proof_holds(wire, proof, binding)


def test_a_plain_tree_below_zero_is_seen_by_everybody() -> None:
    tree, _ = cheat_tree([1000, -3000], cheat_header())
    cheated = replace(tree.public_tree(), total=7_000_000 + 25_000_000 - 2000)
    moment = forge.seal(forge.prove(forge.snapshot(accounts=())))
    forged = forge.forged(
        moment,
        with_line(0, credits=cheated),
        lambda body: replace(body, root_proofs=(tree.root_proof(), *body.root_proofs[1:])),
    )
    with refused(Reason.CREDITS_TOTAL):  # the totals in clear are larger than the total
        verifier.check_bundle(forged)
    # In the asset without open accounts she can only open a wrapped total, which is no u64.
    with pytest.raises(OverflowError):
        encode.tree(replace(cheated, total=CURVE_ORDER - 2000))


def test_a_negative_root_under_real_debtors_is_out_of_range() -> None:
    """The published total stays positive because debtors hold more; the plain tree alone is below zero."""
    header, _ = read()
    tree, _ = cheat_tree([-5], header, number=2)
    debtors = forge.honest()[0]._witnesses  # the operator knows her own blindings
    owed = [a for d in debtors for a in d.amounts if a.role is Role.CREDIT and a.tree == 2]
    total = sum(a.value for a in owed) - 5
    blinding = (sum(a.blinding for a in owed) + 1000) % CURVE_ORDER
    cheated = replace(
        tree.public_tree(), debtors=header.lines[2].credits.debtors, total=total, blinding=blinding
    )
    forged = forge.forged(
        HONEST,
        with_line(2, credits=cheated),
        lambda body: replace(
            body, root_proofs=(*body.root_proofs[:2], tree.root_proof(), body.root_proofs[3])
        ),
    )
    with refused(Reason.ROOT_NOT_IN_RANGE):
        verifier.check_bundle(forged)


def test_an_audit_finds_the_negative_leaf_whoever_checks() -> None:
    tree, _ = cheat_tree([1000, -600, 500, 300], cheat_header())
    header = head(bundle_with_tree(tree))
    leaves = []
    for (wire, leaf, value, blinding), (tag, _, _) in zip(tree.levels()[0], tree.leaves, strict=True):
        binding = verifier.proof_binding(tree.context, Role.LEAF, 0, leaf)
        leaves.append(tag + wire + forge.proof_of(value % 2**63, blinding, binding))
    with refused(Reason.LEAF_NOT_IN_RANGE):
        verifier.check_audit(header, 0, leaves)
    with refused(Reason.PATH):  # nor can it be left out
        verifier.check_audit(header, 0, [leaves[0], leaves[2]])
    with refused(Reason.PATH):
        verifier.check_audit(header, 0, [leaves[0], leaves[2], leaves[3], leaves[0]])


def test_a_sum_of_debtors_below_zero_is_seen_by_each_customer() -> None:
    """The head alone opens plain + debtors: −900 on the debtors' side hides 900."""
    tree, salts = cheat_tree([1000, 500], cheat_header())
    honest = tree.public_tree(sum(a.credits.get("USDC", 0) for a in forge.OPEN))
    cheated = replace(
        honest, debtors=forge.commit_any(-900, 9), total=honest.total - 900, blinding=honest.blinding + 9
    )
    bundle = forge.forged(bundle_with_tree(tree), with_line(0, credits=cheated))
    header = head(bundle)
    binding = verifier.proof_binding(header.context, Role.SIBLING, 0, header.debtors_root)
    record = tree.record(header.hash, "0/0", 0, salts[0]) + forge.proof_of(900, 9, binding)
    with refused(Reason.SIBLING_NOT_IN_RANGE):
        verifier.check_record(header, record, "0/0")
    with refused(Reason.DEBTOR_CREDITS_SUM):  # and by everybody who checks the bundle
        verifier.check_bundle(bundle)


def test_two_customers_do_not_share_a_leaf() -> None:
    tree, salts = cheat_tree([1000, 500], cheat_header())
    header = head(bundle_with_tree(tree))
    verifier.check_record(header, tree.record(header.hash, "0/0", 0, salts[0]), "0/0")
    with refused(Reason.PATH):
        verifier.check_record(header, tree.record(header.hash, "9/0", 0, salts[0]), "9/0")
    with refused(Reason.OTHER_CUSTOMER):
        verifier.check_record(header, tree.record(header.hash, "0/0", 0, salts[0]), "9/0")


def test_a_balance_left_out_has_no_path() -> None:
    epoch, bundle = forge.honest()
    stranger = forge.prove(
        forge.snapshot(accounts=(*forge.PLAIN, *forge.DEBTORS, Balances("5/0", {"USDC": 77})))
    ).record("5/0")
    with refused(Reason.OTHER_BUNDLE):
        verifier.check_record(head(bundle), stranger)
    moved = stranger[:8] + epoch.hash + stranger[40:]
    with refused(Reason.PATH):
        verifier.check_record(head(bundle), moved)


def test_a_record_of_half_of_what_she_owns() -> None:
    """1/0 owns USDC and SOL; the record she gets shows the first only."""
    epoch, bundle = forge.honest()
    whole = epoch.record("1/0")
    start = 8 + 32 + 1 + 3 + 1
    depth = epoch.header.lines[0].credits.depth
    one = 1 + 32 + 8 + 32 + 4 + depth * (33 + 32 + verifier.PROOF_SIZE) + verifier.PROOF_SIZE
    half = whole[:start] + b"\x01" + whole[start + 1 : start + 1 + one]
    with refused(Reason.BALANCE_DIFFERS):
        verifier.check_record(head(bundle), half, "1/0", {"USDC": 1_000_000_000, "SOL": 5_000_000_000})


def test_a_smaller_balance_does_not_open_her_leaf() -> None:
    epoch, bundle = forge.honest()
    record = bytearray(epoch.record("2/0"))
    place = 8 + 32 + 1 + 3 + 1 + 1 + 1 + 32
    record[place : place + 8] = encode.u64(250_000_000)
    with refused(Reason.PATH):
        verifier.check_record(head(bundle), bytes(record), "2/0")


# ---------------------------------------------------------------- debtors


def reproved(
    debtor: Debtor, header: Header, changes: dict[int, tuple[int, int]], margin: tuple[int, int] | None = None
) -> Debtor:
    """Put other (amount, blinding) pairs at some places of a debtor, with the best proofs a cheat can make.

    Without `margin` the equity of the new amounts is proved honestly.
    """
    witness = next(w for w in forge.honest()[0]._witnesses if w.tag == debtor.tag)
    rows = [changes.get(i, (a.value, a.blinding)) for i, a in enumerate(witness.amounts)]
    equity = blinding_sum = 0
    for a, (value, blinding) in zip(witness.amounts, rows, strict=True):
        factor = _signed_quanta(header.assets, a.role, a.tree)
        equity += factor * value
        blinding_sum += factor * blinding
    quanta = verifier.QUANTA_PER_USD6
    rest, rest_blinding = 5, 5
    if margin is None:
        margin = (equity // quanta, 5)
        rest, rest_blinding = equity % quanta, (blinding_sum - 5 * quanta) % CURVE_ORDER
    amounts = tuple(
        forge.amount(header.context, debtor.tag, a.role, a.tree, value, blinding)
        for a, (value, blinding) in zip(witness.amounts, rows, strict=True)
    )
    new_margin = forge.amount(header.context, debtor.tag, Role.MARGIN, verifier.ACCOUNT_TREE, *margin)
    binding = verifier.proof_binding(header.context, Role.REMAINDER, verifier.ACCOUNT_TREE, debtor.tag)
    remainder = forge.proof_of(rest, rest_blinding, binding)
    return replace(debtor, amounts=amounts, margin=new_margin, remainder_proof=remainder)


def test_an_insolvent_debtor_passed_off_as_solvent() -> None:
    """12/0 is 60 dollars below zero: unlisted, its equity cannot be proved."""
    header, _ = read()
    poor = debtor_of("12/0")
    lie = replace(reproved(poor, header, {}, (0, 77)), listed=False)

    def change(header: Header) -> Header:
        return replace(header, shortfall_usd6=0, shortfall_blinding=0)

    with refused(Reason.EQUITY_NOT_PROVED):
        verifier.check_bundle(forge.forged(HONEST, change, swap_debtor(poor, lie)))


def test_a_shortfall_made_small() -> None:
    header, _ = read()
    poor = debtor_of("12/0")
    lie = reproved(poor, header, {}, (1, 77))

    def change(header: Header) -> Header:
        return replace(header, shortfall_usd6=1, shortfall_blinding=77)

    with refused(Reason.EQUITY_NOT_PROVED):
        verifier.check_bundle(forge.forged(HONEST, change, swap_debtor(poor, lie)))


def test_a_shortfall_left_out_of_the_total() -> None:
    with refused(Reason.SHORTFALL_TOTAL):
        verifier.check_bundle(forge.forged(HONEST, lambda h: replace(h, shortfall_usd6=h.shortfall_usd6 - 1)))
    with refused(Reason.LISTED_COUNT):
        verifier.check_bundle(forge.forged(HONEST, lambda h: replace(h, listed_count=0), counts=False))


def test_an_invented_debtor_needs_collateral_that_is_counted() -> None:
    """A debtor with a debt and nothing else would be an asset out of thin air."""
    header, _ = read()
    tag = b"\x07" * 32
    debt = forge.amount(header.context, tag, Role.DEBT, CLAIMS_TREE, 10**9, 3)
    margin = forge.amount(header.context, tag, Role.MARGIN, verifier.ACCOUNT_TREE, 0, 5)
    binding = verifier.proof_binding(header.context, Role.REMAINDER, verifier.ACCOUNT_TREE, tag)
    invented = Debtor(tag, False, (debt,), margin, forge.proof_of(0, 9, binding), b"")

    def change_header(header: Header) -> Header:
        blinding = (header.debts_blinding + 3) % CURVE_ORDER
        return replace(header, debts_usd6=header.debts_usd6 + 10**9, debts_blinding=blinding)

    def change_body(body: Body) -> Body:
        return replace(body, debtors=tuple(sorted((*body.debtors, invented), key=lambda d: d.tag)))

    with refused(Reason.EQUITY_NOT_PROVED):
        verifier.check_bundle(forge.forged(HONEST, change_header, change_body))


def test_invented_collateral_is_not_in_the_total() -> None:
    """10/0 gets 20 BTC more: outside the debtors' sum, then outside the published total."""
    header, _ = read()
    debtor = debtor_of("10/0")
    witness = next(w for w in forge.honest()[0]._witnesses if w.tag == debtor.tag)
    place = next(i for i, a in enumerate(witness.amounts) if (a.role, a.tree) == (Role.CREDIT, 2))
    rich = reproved(debtor, header, {place: (witness.amounts[place].value + 20 * 10**8, 4)})
    with refused(Reason.DEBTOR_CREDITS_SUM):
        verifier.check_bundle(forge.forged(HONEST, change_body=swap_debtor(debtor, rich)))
    new_sum = rich.amounts[place].wire  # 10/0 is the only debtor with BTC
    with refused(Reason.CREDITS_TOTAL):
        forged = forge.forged(HONEST, with_tree(2, debtors=new_sum), swap_debtor(debtor, rich))
        verifier.check_bundle(forged)


def test_invented_collateral_cancelled_by_a_negative_amount() -> None:
    """The hole of a plain sum tree: +20 BTC here, −20 BTC in another debtor's record, the total unchanged."""
    header, _ = read()
    one, two = debtor_of("10/0"), debtor_of("11/0")
    witness = next(w for w in forge.honest()[0]._witnesses if w.tag == one.tag)
    place = next(i for i, a in enumerate(witness.amounts) if (a.role, a.tree) == (Role.CREDIT, 2))
    true = witness.amounts[place]
    rich = reproved(one, header, {place: (true.value + 20 * 10**8, 4)})
    blinding = (true.blinding - 4) % CURVE_ORDER
    counter = forge.amount(header.context, two.tag, Role.CREDIT, 2, -20 * 10**8, blinding)
    amounts = sorted((*two.amounts, counter), key=lambda a: (a.role, a.tree))
    poor = replace(two, amounts=tuple(amounts))

    def change(body: Body) -> Body:
        return swap_debtor(two, poor)(swap_debtor(one, rich)(body))

    with refused(Reason.AMOUNT_NOT_IN_RANGE):
        verifier.check_bundle(forge.forged(HONEST, change_body=change))


def test_one_credit_for_two_debts() -> None:
    """The same record twice; and the same collateral under a second name."""
    debtor = debtor_of("11/0")
    with refused(Reason.WRONG_ORDER):
        verifier.check_bundle(
            forge.forged(HONEST, change_body=lambda b: replace(b, debtors=(*b.debtors, b.debtors[-1])))
        )
    alias = replace(debtor, tag=b"\x08" * 32)

    def change_body(body: Body) -> Body:
        return replace(body, debtors=tuple(sorted((*body.debtors, alias), key=lambda d: d.tag)))

    with refused(Reason.BORROWS_TOTAL):
        verifier.check_bundle(forge.forged(HONEST, change_body=change_body))

    def count_twice(header: Header) -> Header:
        witness = next(w for w in forge.honest()[0]._witnesses if w.tag == debtor.tag)
        for a in witness.amounts:
            if a.role is Role.CREDIT:
                tree = header.lines[a.tree].credits
                sums = [verifier.load_point(tree.debtors), verifier.commit(a.value, a.blinding)]
                point = verifier.add_points(sums)
                assert point is not None
                total, blinding = tree.total + a.value, (tree.blinding + a.blinding) % CURVE_ORDER
                changes = {"debtors": verifier.save_point(point), "total": total, "blinding": blinding}
                header = with_tree(a.tree, **changes)(header)
            elif a.role is Role.BORROW:
                line = header.lines[a.tree]
                blinding = (line.borrows_blinding + a.blinding) % CURVE_ORDER
                header = with_line(
                    a.tree, borrows_units=line.borrows_units + a.value, borrows_blinding=blinding
                )(header)
            else:
                blinding = (header.debts_blinding + a.blinding) % CURVE_ORDER
                header = replace(header, debts_usd6=header.debts_usd6 + a.value, debts_blinding=blinding)
        return header

    with refused(Reason.AMOUNT_NOT_IN_RANGE):  # even counted twice, the proofs carry the first name
        verifier.check_bundle(forge.forged(HONEST, count_twice, change_body))


def test_debt_pinned_on_a_customer_without_debt() -> None:
    """The exchange shows 2/0 as a debtor: her record opens every amount, and she made no debt."""
    accounts = (forge.PLAIN[0], replace(forge.PLAIN[1], debt_usd6=90_000_000), *forge.PLAIN[2:])
    epoch = forge.prove(forge.snapshot(accounts=accounts))
    header = head(forge.seal(epoch))
    with refused(Reason.BALANCE_DIFFERS):
        verifier.check_record(header, epoch.record("2/0"), "2/0", {"USDC": 250_000_001})
    record = epoch.record("2/0")
    with refused(Reason.TRUNCATED):  # and the debt's opening cannot be kept from her
        verifier.check_record(header, record[:-40], "2/0")


def test_a_debtor_with_another_ones_record() -> None:
    epoch, bundle = forge.honest()
    record = epoch.record("11/0")
    with refused(Reason.OPENING):
        verifier.check_record(head(bundle), record.replace(b"\x0411/0", b"\x0410/0", 1))
    start = 8 + 32 + 1 + 4 + 1
    place = int.from_bytes(record[start + 32 : start + 36], "big")
    wrong = encode.u32((place + 1) % 3)
    with refused(Reason.PATH):
        verifier.check_record(head(bundle), record[: start + 32] + wrong + record[start + 36 :], "11/0")


# ---------------------------------------------------------------- swapped proofs


def swap_proof(kind: str) -> bytes:
    """Return the honest bundle with one proof from another epoch, asset, account, role or parameters."""
    _header, _body = read()
    debtor = debtor_of("10/0")
    others = {
        "epoch": debtor_of("10/0", forge.second()[0]).amounts[0],
        "asset": debtor.amounts[1],
        "account": debtor_of("11/0").amounts[0],
        "role": debtor.margin,
    }
    amounts = (replace(debtor.amounts[0], proof=others[kind].proof), *debtor.amounts[1:])
    return forge.forged(HONEST, change_body=swap_debtor(debtor, replace(debtor, amounts=amounts)))


@pytest.mark.parametrize("kind", ["epoch", "asset", "account", "role"])
def test_a_proof_belongs_to_one_epoch_asset_account_and_role(kind: str) -> None:
    with refused(Reason.AMOUNT_NOT_IN_RANGE):
        verifier.check_bundle(swap_proof(kind))


@pytest.mark.parametrize("part", ["context", "role", "tree", "subject"])
def test_the_binding_alone_keeps_proofs_apart(part: str) -> None:
    """Even of one commitment: the proof for one place does not hold for another."""
    wire = curve.commitment(5, 7)
    place = {"context": b"c" * 32, "role": Role.CREDIT, "tree": 1, "subject": b"s" * 32}
    proof = curve.range_proof(5, 7, wire, verifier.proof_binding(**place))  # type: ignore[arg-type]
    other = place | {part: {"context": b"d" * 32, "role": Role.DEBT, "tree": 2, "subject": b"t" * 32}[part]}
    assert verifier.proof_holds(wire, proof, verifier.proof_binding(**place))  # type: ignore[arg-type]
    assert not verifier.proof_holds(wire, proof, verifier.proof_binding(**other))  # type: ignore[arg-type]


def test_a_sibling_proof_of_another_leaf() -> None:
    epoch, bundle = forge.honest()
    record = bytearray(epoch.record("2/0"))
    size = 33 + 32 + verifier.PROOF_SIZE
    first = len(record) - verifier.PROOF_SIZE - epoch.header.lines[0].credits.depth * size + 65
    record[first : first + verifier.PROOF_SIZE] = record[first + size : first + size + verifier.PROOF_SIZE]
    with refused(Reason.SIBLING_NOT_IN_RANGE):
        verifier.check_record(head(bundle), bytes(record))


def test_roots_swapped_between_assets() -> None:
    with refused(Reason.ROOT_NOT_IN_RANGE):
        verifier.check_bundle(
            forge.forged(
                HONEST,
                change_body=lambda b: replace(
                    b, root_proofs=(b.root_proofs[1], b.root_proofs[0], *b.root_proofs[2:])
                ),
            )
        )


def test_a_tree_of_one_asset_shown_as_another() -> None:
    """SOL's tree with its opening and proof in the place of USDC: same points, other leaves."""
    _header, _body = read()

    def change(header: Header) -> Header:
        sol, usdc = header.lines[1].credits, header.lines[0].credits
        total = sol.total + sum(a.credits[0] for a in header.open_accounts)
        moved = replace(sol, total=total, debtors=usdc.debtors)
        return with_line(0, credits=moved)(header)

    with refused(Reason.CREDITS_TOTAL):
        verifier.check_bundle(forge.forged(HONEST, change))


def lenient_proof(low: int, exponent: int, bits: int, binding: bytes) -> tuple[bytes, bytes]:
    """Make a proof that the library accepts, with other parameters than ours."""
    value, blinding, room = 1000, 7, verifier.PROOF_SIZE + 8
    wire = curve.commitment(value, blinding)
    raw = ctypes.create_string_buffer(64)
    proof, size = ctypes.create_string_buffer(room), ctypes.c_size_t(room)
    library, context = curve._LIB, curve._CONTEXT
    assert library.secp256k1_pedersen_commitment_parse(context, raw, wire)
    assert library.secp256k1_rangeproof_sign(
        context, proof, ctypes.byref(size), low, raw, blinding.to_bytes(32, "big"), b"n" * 32, exponent, bits,
        value, None, 0, binding, len(binding), verifier.H_STRUCT,
    )  # fmt: skip
    return wire, proof.raw[: size.value]


@pytest.mark.parametrize(
    ("low", "exponent", "bits"), [(0, 0, 32), (1, 0, 32), (0, 1, 32), (0, -1, 0), (500, 2, 8), (0, 0, 63)]
)
def test_range_proofs_with_other_parameters(low: int, exponent: int, bits: int) -> None:
    wire, proof = lenient_proof(low, exponent, bits, b"binding")
    raw = ctypes.create_string_buffer(64)
    verifier._LIB.secp256k1_pedersen_commitment_parse(verifier._CONTEXT, raw, wire)
    a, b = ctypes.c_uint64(), ctypes.c_uint64()
    accepted = verifier._LIB.secp256k1_rangeproof_verify(
        verifier._CONTEXT,
        ctypes.byref(a),
        ctypes.byref(b),
        raw,
        proof,
        len(proof),
        b"binding",
        7,
        verifier.H_STRUCT,
    )
    assert accepted or low > 1000  # the library is content; we are not
    assert not verifier.proof_holds(wire, proof, b"binding")
    padded = (proof + bytes(verifier.PROOF_SIZE))[: verifier.PROOF_SIZE]
    debtor = debtor_of("10/0")
    amounts = (replace(debtor.amounts[0], proof=padded), *debtor.amounts[1:])
    expected = Reason.AMOUNT_NOT_IN_RANGE if padded[:2] == verifier.PROOF_PREFIX else Reason.PROOF_PARAMETERS
    with refused(expected):
        lie = replace(debtor, amounts=amounts)
        verifier.check_bundle(forge.forged(HONEST, change_body=swap_debtor(debtor, lie)))


# ---------------------------------------------------------------- totals, prices, rates


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: with_tree(0, total=h.lines[0].credits.total - 1)(h), Reason.CREDITS_TOTAL),
        (lambda h: with_tree(1, blinding=h.lines[1].credits.blinding ^ 1)(h), Reason.CREDITS_TOTAL),
        (lambda h: with_tree(0, total=0)(h), Reason.CREDITS_TOTAL),
        (lambda h: with_tree(CLAIMS_TREE, total=0)(h), Reason.CLAIMS_TOTAL),
        (lambda h: with_line(1, borrows_units=h.lines[1].borrows_units + 1)(h), Reason.BORROWS_TOTAL),
        (lambda h: with_line(2, borrows_units=10**8)(h), Reason.BORROWS_TOTAL),
        (lambda h: replace(h, debts_usd6=h.debts_usd6 + 1), Reason.DEBTS_TOTAL),
        (lambda h: replace(h, shortfall_usd6=0), Reason.SHORTFALL_TOTAL),
        (lambda h: with_line(0, holdings_units=h.lines[0].holdings_units + 1)(h), Reason.HOLDINGS_TOTAL),
    ],
    ids=[
        "credits",
        "blinding",
        "nothing owed",
        "claims",
        "loans",
        "loans of nobody",
        "debts",
        "deficit",
        "holdings",
    ],
)
def test_an_altered_total(change: Callable[[Header], Header], reason: Reason) -> None:
    with refused(reason):
        verifier.check_bundle(forge.forged(HONEST, change))


def test_a_polished_rate() -> None:
    with refused(Reason.RATE):
        verifier.check_bundle(forge.forged(HONEST, with_line(1, rate_ppm=2_000_000), rates=False))
    with refused(Reason.RATE):
        verifier.check_bundle(
            forge.forged(HONEST, lambda h: replace(h, total_rate_ppm=2_000_000), rates=False)
        )


def test_matched_loans_do_not_polish_the_rate() -> None:
    """Gross, 50 of 100 becomes 950 of 1000 by lending to oneself; net it stays a half."""
    held = [Holding("USDC", b"\x11" * 32, forge.public("hot"), 50)]
    fund = (Balances("insurance_fund"),)
    customer = Balances("1/0", {"USDC": 100})
    loop = Balances("2/0", {"USDC": 900}, {"USDC": 900})
    rates = []
    for accounts in ((customer,), (customer, loop)):
        moment = forge.snapshot(accounts=accounts, open_accounts=fund, holdings=held)
        rates.append(verifier.check_bundle(forge.seal(forge.prove(moment))).header.lines[0].rate_ppm)
    assert rates == [500_000, 500_000]


def test_wrong_prices_are_seen_by_who_knows_the_market() -> None:
    bounds = {"SOL": (149 * 10**8, 151 * 10**8)}
    verifier.check_bundle(HONEST, Anchors(prices_e8=bounds, max_weight_ppm={"SOL": 900_000}))
    with refused(Reason.PRICE_OUT_OF_BOUNDS):
        verifier.check_bundle(HONEST, Anchors(prices_e8={"SOL": (10**8, 149 * 10**8)}))
    with refused(Reason.WEIGHT_OUT_OF_BOUNDS):
        verifier.check_bundle(HONEST, Anchors(max_weight_ppm={"SOL": 800_000}))


def test_prices_changed_after_the_proofs() -> None:
    """Better prices for the collateral: the challenge and every proof were made for the old ones."""

    def change(header: Header) -> Header:
        dear = replace(header.assets[2], price_e8=2 * header.assets[2].price_e8)
        return replace(header, assets=(*header.assets[:2], dear))

    forged = forge.forged(HONEST, change)
    with refused(Reason.RESERVE_SIGNATURE):
        verifier.check_bundle(forged)

    def resign(body: Body) -> Body:
        context = verifier.read_header(verifier.split_bundle(forged)[0]).context
        return replace(body, holdings=tuple(signed_again(held, context) for held in body.holdings))

    with refused(Reason.ROOT_NOT_IN_RANGE):
        verifier.check_bundle(forge.forged(HONEST, change, resign))


def signed_again(held: verifier.HeldAccount, context: bytes) -> verifier.HeldAccount:
    message = verifier.challenge_text(context, held.account, held.owner)
    return replace(held, signature=forge.key(forge.NAMES[held.owner]).sign(message))


def test_the_settlement_asset_is_worth_what_it_is() -> None:
    for changes in ({"price_e8": 10**8 - 1}, {"weight_ppm": 999_999}, {"decimals": 5}):

        def change(header: Header, changes: dict[str, int] = changes) -> Header:
            return replace(header, assets=(replace(header.assets[0], **changes), *header.assets[1:]))

        with refused(Reason.OUT_OF_RANGE):
            verifier.check_bundle(forge.forged(HONEST, change))


def test_a_hidden_fund() -> None:
    def rename(header: Header) -> Header:
        fees, fund = header.open_accounts
        return replace(header, open_accounts=(fees, replace(fund, name="my_fund")))

    with refused(Reason.OUT_OF_RANGE):
        verifier.check_bundle(forge.forged(HONEST, rename))


def test_a_boasted_fund_must_be_owed() -> None:
    def boast(header: Header) -> Header:
        fees, fund = header.open_accounts
        return replace(header, open_accounts=(fees, replace(fund, credits=(10**9, 0, 0))))

    with refused(Reason.CREDITS_TOTAL):
        verifier.check_bundle(forge.forged(HONEST, boast))


# ---------------------------------------------------------------- reserves


def with_held(place: int, **changes: object) -> Callable[[Body], Body]:
    def change(body: Body) -> Body:
        holdings = list(body.holdings)
        holdings[place] = replace(holdings[place], **changes)  # type: ignore[arg-type]
        return replace(body, holdings=tuple(holdings))

    return change


def test_a_reserve_signature_from_the_last_epoch() -> None:
    _, old = read()
    forged = forge.forged(forge.second()[1], change_body=lambda body: replace(body, holdings=old.holdings))
    with refused(Reason.RESERVE_SIGNATURE):
        verifier.check_bundle(forged)


def test_a_reserve_signature_made_for_another_exchange() -> None:
    rival = forge.prove(forge.snapshot(), operator="rival")
    _, theirs = read(forge.seal(rival, "rival"))
    with refused(Reason.RESERVE_SIGNATURE):
        verifier.check_bundle(
            forge.forged(HONEST, change_body=lambda body: replace(body, holdings=theirs.holdings))
        )


def test_the_reserve_address_of_another() -> None:
    """A whale's account: the exchange's own key does not sign for it."""
    header, body = read()
    whale = forge.public("whale")
    message = verifier.challenge_text(header.context, body.holdings[0].account, whale)
    with refused(Reason.RESERVE_SIGNATURE):
        signature = forge.key("hot").sign(message)
        verifier.check_bundle(
            forge.forged(HONEST, change_body=with_held(0, owner=whale, signature=signature))
        )


def weak_signature(message: bytes, owner: bytes) -> bytes | None:
    """Find R of small order and S = 0 with R = −h·A: works for a share of messages, without any secret."""
    for point in verifier._WEAK_KEYS:
        for sign in (0, 0x80):
            signature = point[:31] + bytes((point[31] | sign,)) + bytes(32)
            if verifier.signature_holds(owner, message, signature):
                return signature
    return None


@pytest.mark.parametrize("owner", sorted(verifier._WEAK_KEYS), ids=lambda key: key.hex()[:8])
def test_reserve_addresses_that_everybody_can_sign_for(owner: bytes) -> None:
    """The all-zero address (Solana's system program, where burnt coins lie) is a point of order 4."""
    header, _ = read()
    found = None
    for number in range(200):
        account = number.to_bytes(32, "big")
        found = weak_signature(verifier.challenge_text(header.context, account, owner), owner)
        if found is not None:
            break
    assert found is not None, "the attack must work against plain ed25519, else this tests nothing"
    change = with_held(0, owner=owner, account=account, signature=found)
    with refused(Reason.WEAK_KEY):
        verifier.check_bundle(forge.forged(HONEST, change_body=change))


def test_a_key_with_two_encodings() -> None:
    with refused(Reason.WEAK_KEY):
        verifier.check_key((2**255 - 19 + 3).to_bytes(32, "little"))
    verifier.check_key(forge.public("hot"))


def test_a_reserve_counted_twice() -> None:
    with refused(Reason.WRONG_ORDER):
        verifier.check_bundle(
            forge.forged(HONEST, change_body=lambda b: replace(b, holdings=(b.holdings[0], *b.holdings)))
        )


def test_an_envelope_without_the_challenge() -> None:
    envelope = b"please sign to log in"
    change = with_held(0, envelope=envelope, signature=forge.key("hot").sign(envelope))
    with refused(Reason.CHALLENGE_MISSING):
        verifier.check_bundle(forge.forged(HONEST, change_body=change))


def test_more_on_paper_than_on_chain() -> None:
    chain = {holding.account: holding.units for holding in forge.HOLDINGS}
    verifier.check_bundle(HONEST, Anchors(chain=chain))
    with refused(Reason.HOLDING_NOT_ON_CHAIN):
        verifier.check_bundle(HONEST, Anchors(chain=chain | {forge.HOLDINGS[0].account: 1}))


# ---------------------------------------------------------------- signatures, chain, equivocation


def test_another_operator() -> None:
    header_bytes, _, raw = verifier.split_bundle(HONEST)
    with refused(Reason.OPERATOR_SIGNATURE):
        verifier.check_bundle(forge.sign_header(header_bytes, raw, "other"))
    with refused(Reason.WRONG_OPERATOR):
        verifier.check_bundle(HONEST, Anchors(operator=forge.public("other")))


def test_another_bundle_than_the_published_one() -> None:
    with refused(Reason.NOT_THE_PUBLISHED_HASH):
        verifier.check_bundle(HONEST, Anchors(published_hash=forge.second()[0].hash))


@pytest.mark.parametrize(
    "changes",
    [{"epoch": 3}, {"previous_hash": b"\x05" * 32}, {"sequence": 999}, {"slot": 4999}, {"time_ns": 1}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_broken_chain(changes: dict[str, object]) -> None:
    first, _ = forge.honest()
    base: dict[str, object] = {
        "epoch": 2, "previous_hash": first.hash, "sequence": 1000, "slot": 5000,
        "time_ns": 1_800_000_000 * 10**9,
        "accounts": (),
    }  # fmt: skip
    verifier.check_bundle(forge.seal(forge.prove(forge.snapshot(**base))), Anchors(previous=first.header))
    bundle = forge.seal(forge.prove(forge.snapshot(**(base | changes))))
    with refused(Reason.BROKEN_CHAIN):
        verifier.check_bundle(bundle, Anchors(previous=first.header))


def test_two_bundles_for_one_epoch_convict_the_operator() -> None:
    one = verifier.split_bundle(HONEST)[:2]
    other = forge.prove(forge.snapshot(accounts=forge.PLAIN))
    two = verifier.split_bundle(forge.seal(other))[:2]
    assert verifier.is_equivocation(one, two)
    assert not verifier.is_equivocation(one, one)
    assert not verifier.is_equivocation(one, verifier.split_bundle(forge.second()[1])[:2])
    rival = forge.seal(forge.prove(forge.snapshot(), operator="rival"), "rival")
    assert not verifier.is_equivocation(one, verifier.split_bundle(rival)[:2])
    with refused(Reason.OPERATOR_SIGNATURE):  # nobody is convicted by a signature that is not hers
        verifier.is_equivocation(one, (two[0], bytes(64)))
    with refused(Reason.OTHER_BUNDLE):  # and her record is of one of them
        verifier.check_record(head(HONEST), other.record("1/0"))


# ---------------------------------------------------------------- encodings


def test_truncated_bundles_and_records() -> None:
    epoch, bundle = forge.honest()
    for size in (0, 3, 4, 50, 500, 1200, len(verifier.split_bundle(bundle)[0]) + 67):
        with refused(Reason.TRUNCATED):
            verifier.check_bundle(bundle[:size])
    with refused(Reason.BODY_HASH):
        verifier.check_bundle(bundle[:-1])
    record = epoch.record("1/0")
    for size in (0, 8, 40, 41, 46, 100, 5000, len(record) - 1):
        with refused(Reason.TRUNCATED):
            verifier.check_record(head(bundle), record[:size])


def test_oversized_bundles_and_records() -> None:
    epoch, bundle = forge.honest()
    header_bytes, _, raw = verifier.split_bundle(bundle)
    with refused(Reason.TRAILING_BYTES):
        verifier.check_bundle(forge.sign_header(header_bytes + b"\x00", raw))
    header = replace(verifier.read_header(header_bytes), body_hash=verifier.digest("body", raw + b"\x00"))
    with refused(Reason.TRAILING_BYTES):
        verifier.check_bundle(forge.sign_header(encode.header(header), raw + b"\x00"))
    with refused(Reason.TRAILING_BYTES):
        verifier.check_record(head(bundle), epoch.record("1/0") + b"\x00")


def test_a_truncated_body_that_is_hashed_anew() -> None:
    header_bytes, _, raw = verifier.split_bundle(HONEST)
    for size in (0, 100, 30_000, len(raw) - 1):
        header = replace(verifier.read_header(header_bytes), body_hash=verifier.digest("body", raw[:size]))
        with refused(Reason.TRUNCATED):
            verifier.check_bundle(forge.sign_header(encode.header(header), raw[:size]))


FIELD_PRIME = 2**256 - 2**32 - 977


@pytest.mark.parametrize(
    "wire",
    [
        b"\x02" + verifier.GENERATOR_G[1:33],
        b"\x0a" + verifier.GENERATOR_G[1:33],
        b"\x08" + (FIELD_PRIME + 1).to_bytes(32, "big"),
        b"\x08" + (5).to_bytes(32, "big"),
        b"\x08" + b"\xff" * 32,
        verifier.IDENTITY,
    ],
    ids=["other prefix", "generator", "x not below p", "not on the curve", "too large", "identity"],
)
def test_non_canonical_points(wire: bytes) -> None:
    with refused(Reason.NON_CANONICAL_POINT):
        verifier.check_bundle(forge.forged(HONEST, with_tree(0, plain=wire)))
    debtor = debtor_of("10/0")
    lie = replace(debtor, margin=replace(debtor.margin, wire=wire))
    with refused(Reason.NON_CANONICAL_POINT):
        verifier.check_bundle(forge.forged(HONEST, change_body=swap_debtor(debtor, lie)))


def test_blindings_have_one_encoding() -> None:
    with refused(Reason.OUT_OF_RANGE):
        change = with_tree(
            0, blinding=forge.honest()[0].header.lines[0].credits.blinding % 2**128 + CURVE_ORDER
        )
        verifier.check_bundle(forge.forged(HONEST, change))


def test_lists_have_one_order() -> None:
    def both(body: Body) -> Body:
        return replace(body, debtors=tuple(reversed(body.debtors)))

    with refused(Reason.WRONG_ORDER):
        verifier.check_bundle(forge.forged(HONEST, change_body=both))
    with refused(Reason.WRONG_ORDER):
        verifier.check_bundle(
            forge.forged(HONEST, change_body=lambda b: replace(b, holdings=tuple(reversed(b.holdings))))
        )
    with refused(Reason.WRONG_ORDER):
        verifier.check_bundle(
            forge.forged(HONEST, lambda h: replace(h, open_accounts=tuple(reversed(h.open_accounts))))
        )
    debtor = debtor_of("10/0")
    twisted = replace(debtor, amounts=(debtor.amounts[1], debtor.amounts[0], *debtor.amounts[2:]))
    with refused(Reason.WRONG_ORDER):
        verifier.check_bundle(forge.forged(HONEST, change_body=swap_debtor(debtor, twisted)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"decimals": 10}, Reason.OUT_OF_RANGE),
        ({"price_e8": 0}, Reason.OUT_OF_RANGE),
        ({"price_e8": 10**17 + 1}, Reason.OUT_OF_RANGE),
        ({"weight_ppm": 1_000_001}, Reason.OUT_OF_RANGE),
        ({"symbol": "S-L"}, Reason.OUT_OF_RANGE),
        ({"symbol": "USDC"}, Reason.WRONG_ORDER),
    ],
)
def test_the_table_of_assets_is_bounded(changes: dict[str, object], reason: Reason) -> None:
    def change(header: Header) -> Header:
        odd = replace(header.assets[1], **changes)  # type: ignore[arg-type]
        return replace(header, assets=(header.assets[0], odd, header.assets[2]))

    with refused(reason):
        verifier.check_bundle(forge.forged(HONEST, change, rates=False))


def test_depth_is_bound_to_the_root() -> None:
    with refused(Reason.ROOT_NOT_IN_RANGE):
        verifier.check_bundle(forge.forged(HONEST, with_tree(0, depth=9)))


def test_every_reason_has_an_attack() -> None:
    """A reason that no test of this file produces is a check that nobody knows to work."""
    from pathlib import Path

    text = Path(__file__).read_text("utf-8")
    elsewhere = {Reason.BODY_HASH, Reason.DEBTORS_ROOT, Reason.WRONG_MAGIC}
    for reason in Reason:
        assert f"Reason.{reason.name}" in text or reason in elsewhere, reason


def test_a_debtors_root_of_other_records() -> None:
    header_bytes, _, raw = verifier.split_bundle(HONEST)
    header = replace(verifier.read_header(header_bytes), debtors_root=b"\x01" * 32)
    with refused(Reason.DEBTORS_ROOT):
        verifier.check_bundle(forge.sign_header(encode.header(header), raw))


def test_something_else_altogether() -> None:
    with refused(Reason.WRONG_MAGIC):
        verifier.check_bundle(encode.u32(10) + b"not a head" + bytes(64))
    with refused(Reason.WRONG_MAGIC):
        verifier.check_record(head(HONEST), b"MWRCRD2\n" + bytes(100))
