"""The ledger against a model that copies every balance at every block: views, forks, skips, save and restore.

The model is a list of plain dictionaries, one per block, and knows nothing of journals. After every step each
commitment must show exactly the dictionary of its block, and the history exactly the payments that are left.
"""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from solders.account import Account
from solders.keypair import Keypair

from localnet import persistence, programs
from localnet.ledger import Ledger, NotIncluded

from .helpers import SOL, make_ledger, tip_hash, transfer_from

FEE = 5_000
PEOPLE = [Keypair.from_seed(bytes([number]) * 32) for number in range(4)]
people = st.integers(0, len(PEOPLE) - 1)


@dataclass
class State:
    """All balances, and the signatures that led to them, at the end of a block."""

    balances: dict[int, int] = field(default_factory=dict)
    signatures: list[str] = field(default_factory=list)

    def copy(self) -> State:
        return State(dict(self.balances), list(self.signatures))


class LedgerMachine(RuleBasedStateMachine):
    ledger: Ledger
    blocks: list[State]
    now: State

    @initialize(confirmed_lag=st.integers(1, 3), more=st.integers(0, 4))
    def start(self, confirmed_lag: int, more: int) -> None:
        self.ledger = make_ledger(confirmed_lag=confirmed_lag, finality_lag=confirmed_lag + more)
        self.blocks = [State(dict.fromkeys(range(len(PEOPLE)), 0))]
        self.now = self.blocks[0].copy()
        for number, person in enumerate(PEOPLE):
            self.ledger.set_account(person.pubkey(), Account(10 * SOL, b"", programs.SYSTEM))
            self.now.balances[number] = 10 * SOL

    @rule(source=people, receiver=people, lamports=st.integers(SOL // 100, 4 * SOL))
    def pay(self, source: int, receiver: int, lamports: int) -> None:
        payer = PEOPLE[source]
        transaction = transfer_from(payer, PEOPLE[receiver].pubkey(), lamports, tip_hash(self.ledger))
        result = self.ledger.process(transaction)
        if isinstance(result, NotIncluded):
            assert result.err in ("AlreadyProcessed", "InsufficientFundsForFee", "AccountNotFound") or (
                isinstance(result.err, dict) and "InsufficientFundsForRent" in result.err
            )
            return
        self.now.signatures.append(result.signature)
        self.now.balances[source] -= FEE
        if result.err is None:
            self.now.balances[source] -= lamports
            self.now.balances[receiver] += lamports

    @rule(number=people, lamports=st.sampled_from([0, SOL, 7 * SOL]))
    def overwrite(self, number: int, lamports: int) -> None:
        account = None if lamports == 0 else Account(lamports, b"", programs.SYSTEM)
        self.ledger.set_account(PEOPLE[number].pubkey(), account)
        self.now.balances[number] = lamports

    @rule(slots=st.integers(1, 3))
    def advance(self, slots: int) -> None:
        self.ledger.advance(slots)
        for _ in range(slots):
            self.blocks.append(self.now)
            self.now = self.now.copy()

    @rule(slots=st.integers(1, 3))
    def skip(self, slots: int) -> None:
        if self.ledger.open.transactions or self.ledger.open.written:
            self.blocks.append(self.now)
            self.now = self.now.copy()
        self.ledger.skip_slots(slots)

    @rule(wanted=st.integers(1, 4))
    def abandon(self, wanted: int) -> None:
        depth = min(wanted, len(self.ledger.chain) - 1 - self.ledger.chain.index(self.root()))
        if depth < 1:
            return
        self.ledger.reorg(depth, drop=None)
        del self.blocks[len(self.blocks) - depth :]
        self.now = self.blocks[-1].copy()
        for _ in range(depth):
            self.blocks.append(self.now)
            self.now = self.now.copy()

    @rule()
    def save_and_restore(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "saved"
            persistence.save(self.ledger, persistence.SavedClock(0, 0), path)
            self.ledger = make_ledger()
            persistence.restore(self.ledger, path)

    def root(self) -> object:
        return self.ledger.view_block("finalized")

    @invariant()
    def every_commitment_shows_its_block(self) -> None:
        ledger = self.ledger
        assert len(ledger.chain) == len(self.blocks)
        states = {
            "processed": self.now,
            "confirmed": self.blocks[max(0, len(self.blocks) - ledger.confirmed_lag)],
            "finalized": self.blocks[max(0, len(self.blocks) - ledger.finality_lag)],
        }
        for level, state in states.items():
            view = ledger.view(level)
            shown = {number: view.balance(person.pubkey()) for number, person in enumerate(PEOPLE)}
            # a root never moves back: after a fork it may be ahead of what the lags alone would say
            assert shown == state.balances, level

    @invariant()
    def history_is_what_is_left(self) -> None:
        kept = self.now.signatures
        assert self.ledger.transaction_count == len(kept)
        assert all(self.ledger.transaction(signature) is not None for signature in kept)
        named = {record.signature for person in PEOPLE for record in self.ledger.history(person.pubkey())}
        assert named == set(kept)

    @invariant()
    def blocks_are_linked_and_slots_only_grow(self) -> None:
        chain = self.ledger.chain
        for older, newer in itertools.pairwise(chain):
            assert newer.slot > newer.parent_slot == older.slot
            assert (newer.previous_blockhash, newer.height) == (older.blockhash, older.height + 1)
        assert self.ledger.open.slot > chain[-1].slot


LedgerMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestLedgerModel = LedgerMachine.TestCase
