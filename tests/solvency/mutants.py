"""Mutations of valid bundles and records: flipped, cut and grown bytes, with or without the operator."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from solvency import encode, verifier
from solvency.verifier import CLAIMS_TREE, Body, Header
from tests.solvency import forge


@dataclass(frozen=True)
class Mutant:
    name: str
    bundle: bytes
    record: bytes | None = None
    customer_id: str | None = None


def mutate(data: bytes, dice: random.Random, low: int = 0) -> bytes:
    """Change `data` in one place at or after `low`; never return it unchanged."""
    place = dice.randrange(low, len(data))
    kind = dice.randrange(6)
    if kind == 0:
        return data[:place] + bytes((data[place] ^ (1 << dice.randrange(8)),)) + data[place + 1 :]
    if kind == 1:
        return (
            data[:place]
            + bytes((dice.choice([x for x in (0, 1, 0x7F, 0x80, 0xFF) if x != data[place]]),))
            + (data[place + 1 :])
        )
    if kind == 2:
        return data[:place] + data[place + 1 :]
    if kind == 3:
        return data[:place] + dice.randbytes(1) + data[place:]
    if kind == 4:
        return data[:place]
    size = min(dice.choice((1, 2, 4, 8, 32, 33)), len(data) - place)
    changed = data[:place] + dice.randbytes(size) + data[place + size :]
    return changed if changed != data else data + b"\x00"


def signed_with_any_body(header: Header, body: bytes) -> bytes:
    """Sign a header whose hash of the body fits."""
    return forge.sign_header(encode.header(replace(header, body_hash=verifier.digest("body", body))), body)


def byte_mutants(seed: int, count: int) -> Iterator[Mutant]:
    """Yield byte-level mutants of the bundle: as they are, and with header or body hashed and signed anew."""
    dice = random.Random(seed)
    bundle = forge.honest()[1]
    header_bytes, _, raw = verifier.split_bundle(bundle)
    header = verifier.read_header(header_bytes)
    for number in range(count):
        yield Mutant(f"file {number}", mutate(bundle, dice))
        changed = mutate(header_bytes, dice)
        if changed[8:40] == header.operator:  # another operator key is another operator's bundle: see below
            yield Mutant(f"header {number}", forge.sign_header(changed, raw))
        yield Mutant(f"body {number}", signed_with_any_body(header, mutate(raw, dice)))


def proof_mutants(seed: int, count: int) -> Iterator[Mutant]:
    """Yield bundles with one debtor's bytes changed and everything else, its root included, made to fit."""
    dice = random.Random(seed)
    bundle = forge.honest()[1]
    header_bytes, _, raw = verifier.split_bundle(bundle)
    header = verifier.read_header(header_bytes)
    body = verifier.read_body(raw, header)
    start = len(body.root_proofs) * verifier.PROOF_SIZE
    end = start + sum(len(debtor.raw) for debtor in body.debtors)
    for number in range(count):
        place = dice.randrange(start, end)
        changed = raw[:place] + bytes((raw[place] ^ (1 << dice.randrange(8)),)) + raw[place + 1 :]
        try:
            debtors = verifier.read_body(changed, header).debtors
        except verifier.Rejected:
            yield Mutant(f"debtor {number}", signed_with_any_body(header, changed))
            continue
        root = verifier.debtors_root([verifier.debtor_hash(header.context, d.raw) for d in debtors])
        yield Mutant(f"debtor {number}", signed_with_any_body(replace(header, debtors_root=root), changed))


def _numbers(header: Header) -> Iterator[tuple[str, Header]]:
    for name in ("epoch", "sequence", "time_ns", "slot", "debts_usd6", "shortfall_usd6", "total_rate_ppm"):
        yield name, replace(header, **{name: getattr(header, name) + 1})
    for name in ("debts_blinding", "shortfall_blinding"):
        yield name, replace(header, **{name: (getattr(header, name) + 1) % verifier.CURVE_ORDER})
    for name in ("previous", "debtors_root", "body_hash"):
        yield name, replace(header, **{name: b"\x07" * 32})
    for name in ("debtor_count", "listed_count", "holding_count"):
        for step in (-1, 1):
            yield f"{name} {step}", replace(header, **{name: getattr(header, name) + step})


def _trees(header: Header) -> Iterator[tuple[str, Header]]:
    for number in (*range(len(header.assets)), CLAIMS_TREE):
        tree = header.tree(number)
        changes = {
            "depth": tree.depth + 1,
            "plain": header.tree(1 if number != 1 else 0).plain,
            "plain_hash": b"\x07" * 32,
            "debtors": tree.plain,
            "total": tree.total + 1,
            "blinding": (tree.blinding + 1) % verifier.CURVE_ORDER,
        }  # fmt: skip
        for name, value in changes.items():
            new = replace(tree, **{name: value})  # type: ignore[arg-type]
            if number == CLAIMS_TREE:
                yield f"claims {name}", replace(header, claims=new)
            else:
                lines = list(header.lines)
                lines[number] = replace(lines[number], credits=new)
                yield f"tree {number} {name}", replace(header, lines=tuple(lines))


def _lines(header: Header) -> Iterator[tuple[str, Header]]:
    for number, line in enumerate(header.lines):
        for name in ("borrows_units", "borrows_blinding", "holdings_units", "rate_ppm"):
            lines = list(header.lines)
            lines[number] = replace(line, **{name: getattr(line, name) + 1})
            yield f"line {number} {name}", replace(header, lines=tuple(lines))


def _assets(header: Header) -> Iterator[tuple[str, Header]]:
    for number, asset in enumerate(header.assets):
        for name, value in (
            ("symbol", "XYZ"), ("identity", b"\x09" * 32), ("decimals", 7), ("price_e8", asset.price_e8 + 1),
            ("weight_ppm", asset.weight_ppm - 1),
        ):  # fmt: skip
            assets = list(header.assets)
            assets[number] = replace(asset, **{name: value})  # type: ignore[arg-type]
            yield f"asset {number} {name}", replace(header, assets=tuple(assets))
    for number, account in enumerate(header.open_accounts):
        for name, value in (
            ("name", "a_name" if number == 0 else "z_name"), ("credits", (1, 2, 3)), ("borrows", (1, 0, 0)),
            ("claim_usd6", 5), ("debt_usd6", 5),
        ):  # fmt: skip
            accounts = list(header.open_accounts)
            accounts[number] = replace(account, **{name: value})  # type: ignore[arg-type]
            yield f"open account {number} {name}", replace(header, open_accounts=tuple(accounts))


def field_mutants() -> Iterator[Mutant]:
    """Yield the bundle with each field of header and body changed alone, signed anew by the operator."""
    bundle = forge.honest()[1]
    header_bytes, _, raw = verifier.split_bundle(bundle)
    header = verifier.read_header(header_bytes)
    for source in (_numbers, _trees, _lines, _assets):
        for name, changed in source(header):
            yield Mutant(f"{name}, rates as they were", forge.sign_header(encode.header(changed), raw))
            rated = encode.header(forge.with_true_rates(changed))
            if rated != header_bytes:  # a changed rate is made to fit by changing it back
                yield Mutant(f"{name}, rates made to fit", forge.sign_header(rated, raw))
    body = verifier.read_body(raw, header)
    for name, new_body in _bodies(body):
        yield Mutant(name, forge.forged(bundle, change_body=lambda _, new=new_body: new))  # type: ignore[misc]


def _bodies(body: Body) -> Iterator[tuple[str, Body]]:
    proofs = body.root_proofs
    for i in range(len(proofs)):
        yield f"root proof {i}", replace(body, root_proofs=(*proofs[:i], proofs[i - 1], *proofs[i + 1 :]))
    for i, debtor in enumerate(body.debtors):
        kept = [d for d in body.debtors if d is not debtor]
        yield f"debtor {i} left out", replace(body, debtors=tuple(kept))
        changes: list[tuple[str, verifier.Debtor]] = [
            ("listed", replace(debtor, listed=not debtor.listed)),
            ("tag", replace(debtor, tag=debtor.tag[:31] + bytes((debtor.tag[31] ^ 1,)))),
            ("margin", replace(debtor, margin=debtor.amounts[0])),
            ("remainder", replace(debtor, remainder_proof=debtor.margin.proof)),
            *((f"without amount {k}", replace(debtor, amounts=debtor.amounts[:k] + debtor.amounts[k + 1 :]))
              for k in range(len(debtor.amounts))),
        ]  # fmt: skip
        for name, changed in changes:
            debtors = sorted([*kept, changed], key=lambda d: d.tag)
            yield f"debtor {i} {name}", replace(body, debtors=tuple(debtors))
    for i, held in enumerate(body.holdings):
        others = [h for h in body.holdings if h is not held]
        yield f"reserve {i} left out", replace(body, holdings=tuple(others))
        for name, value in (
            ("tree", (held.tree + 1) % 3), ("account", b"\x44" * 32), ("owner", forge.public("other")),
            ("units", held.units + 1), ("envelope", b"hello"), ("signature", held.signature[:63] + b"\x00"),
        ):  # fmt: skip
            holdings = sorted([*others, replace(held, **{name: value})], key=lambda h: h.account)  # type: ignore[arg-type]
            yield f"reserve {i} {name}", replace(body, holdings=tuple(holdings))


def record_mutants(seed: int, count: int) -> Iterator[Mutant]:
    """Yield mutated records of a customer without debt and of one in debt, beside the true bundle's head."""
    dice = random.Random(seed)
    epoch, bundle = forge.honest()
    header_bytes, signature, _ = verifier.split_bundle(bundle)
    head = encode.bundle(header_bytes, signature, b"")
    for number in range(count):
        for customer_id in ("1/0", "3/0", "11/0", "12/0"):
            record = epoch.record(customer_id)
            # Proofs are most of a record; half of the mutations go to the small fields at its start.
            changed = mutate(record, dice) if number % 2 else mutate(record[:150], dice) + record[150:]
            yield Mutant(f"record {customer_id} {number}", head, changed, customer_id)


def judge(mutant: Mutant) -> str:
    """Return the Python verifier's verdict: "valid" or the reason."""
    try:
        if mutant.record is None:
            verifier.check_bundle(mutant.bundle, threads=2)
        else:
            header = verifier.check_head(*verifier.split_bundle(mutant.bundle)[:2])
            verifier.check_record(header, mutant.record, mutant.customer_id)
    except verifier.Rejected as refused:
        return str(refused.reason)
    return "valid"
