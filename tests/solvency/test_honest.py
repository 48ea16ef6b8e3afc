"""What an honest exchange publishes is accepted, says the truth, and every customer finds herself in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from solvency import prover, verifier
from solvency.model import Balances, Holding, SnapshotFault
from solvency.verifier import Anchors, Asset
from tests.solvency import forge


def test_the_lines_are_the_sums_of_the_balances() -> None:
    header = verifier.check_bundle(forge.honest()[1], threads=2).header
    everyone = (*forge.PLAIN, *forge.DEBTORS, *forge.OPEN)
    for number, asset in enumerate(header.assets):
        line = header.lines[number]
        assert line.credits.total == sum(a.credits.get(asset.symbol, 0) for a in everyone)
        assert line.borrows_units == sum(a.borrows.get(asset.symbol, 0) for a in everyone)
        assert line.holdings_units == sum(h.units for h in forge.HOLDINGS if h.symbol == asset.symbol)
    assert header.claims.total == 40_000_000
    assert header.debts_usd6 == 120_000_000
    assert header.shortfall_usd6 == 60_000_000  # 12/0 has 40 dollars and owes 100
    assert (header.debtor_count, header.listed_count) == (3, 1)
    net = 1_322_000_009 - 100_000_000 + 40_000_000 - 120_000_000 + 60_000_000
    assert header.net_units(0) == net
    assert header.lines[0].rate_ppm == 1_300_000_000 * 10**6 // net


@pytest.mark.parametrize("account", (*forge.PLAIN, *forge.DEBTORS), ids=lambda account: account.customer_id)
def test_every_customer_verifies_all_her_balances(account: Balances) -> None:
    epoch, bundle = forge.honest()
    header = verifier.check_head(*verifier.split_bundle(bundle)[:2])
    expected = {symbol: units for symbol, units in account.credits.items() if units}
    expected |= {f"borrow:{symbol}": units for symbol, units in account.borrows.items()}
    expected |= {"claims": account.claim_usd6} if account.claim_usd6 else {}
    expected |= {"debt": account.debt_usd6} if account.debt_usd6 else {}
    report = verifier.check_record(header, epoch.record(account.customer_id), account.customer_id, expected)
    assert report.in_debt == account.is_debtor
    assert report.listed == (account.customer_id == "12/0")


def test_a_stored_epoch_answers_like_the_living_one() -> None:
    epoch, bundle = forge.honest()
    stored = prover.Epoch.load(epoch.dump())
    assert stored.dump() == epoch.dump()
    header = verifier.check_head(*verifier.split_bundle(bundle)[:2])
    for account in (*forge.PLAIN, *forge.DEBTORS):
        verifier.check_record(header, stored.record(account.customer_id), account.customer_id)
    assert stored.seal(forge.key(forge.OPERATOR).sign(stored.operator_message)) == bundle


def test_siblings_are_proved_once_an_epoch() -> None:
    epoch, _ = forge.honest()
    assert epoch.record("1/0") == epoch.record("1/0")


def test_an_unknown_customer_has_no_record() -> None:
    with pytest.raises(prover.UnknownCustomer):
        forge.honest()[0].record("99/0")


def test_bundles_form_a_chain() -> None:
    heads = [verifier.split_bundle(bundle)[:2] for _, bundle in (forge.honest(), forge.second())]
    first, next_one = verifier.check_chain(heads, forge.public(forge.OPERATOR))
    assert next_one.previous == first.hash
    verifier.check_bundle(forge.second()[1], Anchors(previous=first, published_hash=next_one.hash))
    assert forge.second()[0].memo == f"makewhole:solvency:1:2:{next_one.hash.hex()}"


def test_an_auditor_checks_every_leaf_and_learns_no_amount() -> None:
    epoch, _ = forge.honest()
    for number in (0, 1, 2, 255):
        tree = epoch.header.tree(number)
        assert verifier.check_audit(epoch.header, number, epoch.audit(number)) == 2**tree.depth


def test_a_memo_is_read_back_and_nothing_else_is() -> None:
    epoch, _ = forge.honest()
    assert verifier.read_memo(epoch.memo) == (1, epoch.hash)
    for text in (
        "",
        "hello",
        epoch.memo[:-1],
        epoch.memo + "0",
        epoch.memo.upper(),
        epoch.memo.replace(":1:1:", ":1:01:"),
    ):
        with pytest.raises(ValueError, match="not a solvency memo"):
            verifier.read_memo(text)


def test_padded_debtors_hide_what_they_hold() -> None:
    epoch = forge.prove(forge.snapshot(), pad_debtors=True)
    body = verifier.check_bundle(forge.seal(epoch), threads=2).body
    shapes = {tuple((a.role, a.tree) for a in debtor.amounts) for debtor in body.debtors}
    assert len(shapes) == 1
    verifier.check_record(epoch.header, epoch.record("11/0"), "11/0")


def test_the_exchange_without_customers_or_reserves() -> None:
    moment = forge.snapshot(accounts=(), open_accounts=(Balances("insurance_fund"),), holdings=())
    header = verifier.check_bundle(forge.seal(forge.prove(moment))).header
    assert all(line.rate_ppm == verifier.RATE_NOTHING_OWED for line in header.lines)
    assert verifier.is_covered(header)


def test_workers_prove_the_same_epoch() -> None:
    epoch = forge.prove(forge.snapshot(), workers=2)
    assert verifier.check_bundle(forge.seal(epoch)).header.lines == forge.honest()[0].header.lines


def test_an_insolvent_fund_is_part_of_the_shortfall() -> None:
    """A fund that took over borrows it cannot pay shows as outstanding negative equity, in clear."""
    fund = Balances("insurance_fund", {"USDC": 10_000_000}, {"SOL": 1_000_000_000})
    moment = forge.snapshot(accounts=(), open_accounts=(fund,), holdings=())
    header = verifier.check_bundle(forge.seal(forge.prove(moment))).header
    assert header.shortfall_usd6 == 140_000_000  # 1 SOL at 150 dollars against 10 dollars


def test_custody_signs_a_transaction_that_carries_the_challenge() -> None:
    draft = prover.begin(forge.snapshot(), forge.public(forge.OPERATOR))
    answers = []
    for challenge in draft.challenges:
        envelope = b"\x01\x00transaction..." + challenge.message + b"...memo"
        signature = forge.key(forge.NAMES[challenge.owner]).sign(envelope)
        answers.append(prover.ReserveSignature(signature, envelope))
    verifier.check_bundle(forge.seal(prover.prove(draft, forge.MASTER, answers)))


def test_deficit_claims_and_recovery_over_three_epochs() -> None:
    """A crash leaves a debt, the next bundle shows deficit and claim, the one after the cure."""
    reserve = [Holding("USDC", b"\x11" * 32, forge.public("hot"), 100)]
    states = [
        ((Balances("1/0", {"USDC": 60}), Balances("2/0", {"USDC": 40})), 0, 0, 100),
        ((Balances("1/0", {"USDC": 60}, claim_usd6=70), Balances("2/0", {}, {}, 0, 30)), 30, 70, 100),
        ((Balances("1/0", {"USDC": 130}), Balances("2/0", {"USDC": 0})), 0, 0, 130),
    ]
    previous = bytes(32)
    for number, (accounts, shortfall, claims, held) in enumerate(states, start=1):
        moment = forge.snapshot(
            epoch=number, previous_hash=previous, time_ns=10**18 + number, accounts=accounts,
            open_accounts=(Balances("insurance_fund"),), holdings=[replace(reserve[0], units=held)],
        )  # fmt: skip
        epoch = forge.prove(moment)
        header = verifier.check_bundle(forge.seal(epoch)).header
        previous = header.hash
        assert (header.shortfall_usd6, header.claims.total) == (shortfall, claims)
        assert verifier.is_covered(header) == (number != 2)  # 100 held, 60 + 70 owed: 30 short, in the open
        assert verifier.check_record(header, epoch.record("1/0"), "1/0").balances.get("claims", 0) == claims


units = st.integers(0, 10**12)


@st.composite
def exchanges(draw: st.DrawFn) -> list[Balances]:
    symbols = [asset.symbol for asset in forge.ASSETS]
    accounts = []
    for number in range(draw(st.integers(0, 4))):
        owned = {s: draw(units) for s in symbols if draw(st.booleans())}
        borrows = {s: draw(st.integers(0, 10**11)) for s in symbols if draw(st.integers(0, 3)) == 0}
        claim, debt = draw(st.sampled_from([(0, 0), (5, 0), (0, 7), (0, 10**11)]))
        accounts.append(Balances(f"{number}/0", owned, borrows, claim, debt))
    return accounts


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(exchanges(), st.data())
def test_any_exchange_proves_and_each_of_its_customers_verifies(
    accounts: list[Balances], data: st.DataObject
) -> None:
    epoch = forge.prove(forge.snapshot(accounts=accounts))
    header = verifier.check_bundle(forge.seal(epoch), threads=2).header
    for number, asset in enumerate(header.assets):
        owed = sum(a.credits.get(asset.symbol, 0) for a in (*accounts, *forge.OPEN))
        assert header.lines[number].credits.total == owed
    if accounts:
        account = data.draw(st.sampled_from(accounts))
        own = any(account.credits.values()) or account.is_debtor or account.claim_usd6
        if own:
            verifier.check_record(header, epoch.record(account.customer_id), account.customer_id)


@settings(max_examples=200, deadline=None)
@given(exchanges())
def test_no_debtor_lowers_total_net_liabilities(accounts: list[Balances]) -> None:
    """The theorem behind the net rate: equity at haircuts + shortfall ≥ 0, so each debtor adds ≥ 0."""
    for account in accounts:
        opened = verifier.OpenAccount(
            account.customer_id,
            tuple(account.credits.get(asset.symbol, 0) for asset in forge.ASSETS),
            tuple(account.borrows.get(asset.symbol, 0) for asset in forge.ASSETS),
            account.claim_usd6,
            account.debt_usd6,
        )
        net = (
            account.claim_usd6 - account.debt_usd6 + opened.shortfall_usd6(forge.ASSETS)
        ) * verifier.QUANTA_PER_USD6
        for asset, credit, borrow in zip(forge.ASSETS, opened.credits, opened.borrows, strict=True):
            net += (credit - borrow) * asset.quanta_owed
        assert net >= 0


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"accounts": (Balances("1/0", {"USDC": -1}),)}, r"whole number in \[0, 2\^64\)"),
        ({"accounts": (Balances("1/0", {"USDC": 2**64}),)}, r"whole number in \[0, 2\^64\)"),
        ({"accounts": (Balances("1/0", {"USDC": True}),)}, "whole number"),
        (
            {"accounts": (Balances("1/0", {"USDC": 2**63}), Balances("2/0", {"USDC": 2**63}))},
            "all credits of USDC",
        ),
        ({"accounts": (Balances("1/0", {"DOGE": 1}),)}, "unknown asset"),
        ({"accounts": (Balances("1/0", {"USDC": 1}), Balances("1/0", {"SOL": 1}))}, "appears twice"),
        ({"accounts": (Balances("", {"USDC": 1}),)}, "an id has"),
        ({"open_accounts": ()}, "insurance fund"),
        ({"holdings": (forge.HOLDINGS[0], forge.HOLDINGS[0])}, "appears twice"),
    ],
)
def test_the_prover_refuses_a_snapshot_it_could_not_prove_truthfully(
    changes: dict[str, object], fault: str
) -> None:
    with pytest.raises(SnapshotFault, match=fault):
        prover.begin(forge.snapshot(**changes), forge.public(forge.OPERATOR))


def test_the_prover_refuses_a_reserve_that_did_not_sign() -> None:
    draft = prover.begin(forge.snapshot(), forge.public(forge.OPERATOR))
    answers = forge.sign_reserves(draft)
    with pytest.raises(SnapshotFault, match="did not sign"):
        prover.prove(draft, forge.MASTER, [answers[1], answers[0], answers[2]])
    with pytest.raises(SnapshotFault, match="3 reserve accounts, 2 signatures"):
        prover.prove(draft, forge.MASTER, answers[:2])


def test_nothing_leaves_under_another_signature_or_with_a_wrong_sum() -> None:
    epoch, _ = forge.honest()
    with pytest.raises(verifier.Rejected, match="operator_signature_invalid"):
        epoch.seal(bytes(64))
    broken = prover.Epoch.load(epoch.dump())
    broken.body = broken.body[:-1]
    with pytest.raises(verifier.Rejected, match="body_hash_differs"):
        forge.seal(broken)


def test_a_full_check_reports_its_progress() -> None:
    steps: list[tuple[int, int]] = []
    verifier.check_bundle(forge.honest()[1], threads=2, progress=lambda *step: steps.append(step))
    assert [done for done, _ in steps] == list(range(1, len(steps) + 1))
    assert steps[-1] == (len(steps), len(steps))


def test_quanta_are_the_value_of_one_unit() -> None:
    """R2's value formula: usd6 = units × price_e8 / 10^(decimals + 2), here in usd6 / 10^17."""
    sol = Asset("SOL", bytes(32), 9, 150 * 10**8, 900_000)
    assert 10**9 * sol.quanta_owed == 150 * 10**6 * 10**17
    assert 10**9 * sol.quanta_held == 135 * 10**6 * 10**17


def test_the_command_line_has_its_three_answers(tmp_path, capsys) -> None:  # type: ignore[no-untyped-def]
    epoch, bundle = forge.honest()
    path, record = tmp_path / "bundle", tmp_path / "record"
    path.write_bytes(bundle)
    record.write_bytes(epoch.record("2/0"))
    operator = forge.public(forge.OPERATOR).hex()
    assert verifier.main([str(path), "--operator", operator, "--published", epoch.hash.hex()]) == 0
    assert "rate" in capsys.readouterr().out
    own = ["--record", str(record), "--id", "2/0", "--balance", "USDC=250000001"]
    assert verifier.main([str(path), *own]) == 0
    assert verifier.main([str(path), *own[:-1], "USDC=250000002"]) == 1
    assert "balance_differs" in capsys.readouterr().err
    poor = forge.prove(forge.snapshot(holdings=forge.HOLDINGS[1:]))
    path.write_bytes(forge.seal(poor))
    assert verifier.main([str(path)]) == 3
    path.write_bytes(bundle[:-1])
    assert verifier.main([str(path)]) == 1
