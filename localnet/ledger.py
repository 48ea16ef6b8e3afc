"""The chain: slots, blocks, forks, commitments, transaction history and the accounts behind them.

Theory of operation
- There is always one *open* slot. A transaction runs at once in it and is then visible at `processed`.
  `advance` closes the open slot into a block and opens the next one. `confirmed` is the block
  `confirmed_lag` below the open slot, `finalized` (the root) the one `finality_lag` below, both counted
  in blocks.
- Every write notes the account's state before it in the block's `written` (a journal). Reading an older
  view walks the journals of the later slots; abandoning blocks writes the journals back, newest first.
  Blocks at or below the root drop their journal: they can never be abandoned.
- A blockhash is registered when its block closes and serves transactions while at most 150 more blocks
  have closed. As in the Solana runtime, that is one block longer than `lastValidBlockHeight` promises.
  Durable nonces are checked and advanced here, also when the transaction fails.
- Slots never repeat: a fork goes on at later slots than the blocks it replaces.

Rules: single-threaded; all calls come from one thread (the validator's loop). Time enters as a function.
Must not know: JSON-RPC, sockets, wall clock.

For listeners (subscriptions, fault scripts) the interface is: `subscribe`, `account_at`, `slot_at`,
`block`, `root_slot`, `transaction`, `skip_slots`, `reorg`; the events are in `localnet.events`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from solders.account import Account
from solders.hash import Hash
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from . import events, programs
from .accounts_index import AccountsIndex
from .blocks import Block, TransactionErrorJson, TransactionRecord
from .execution import next_durable_nonce, nonce_is_usable, read_nonce, with_nonce
from .processing import Outcome, run
from .svm import SLOTS_PER_EPOCH, Svm, hash_bytes
from .token_state import pack_mint
from .views import MAX_BLOCKHASH_AGE, View

Commitment: TypeAlias = Literal["processed", "confirmed", "finalized"]
FAUCET_LAMPORTS: Final = 500_000_000 * 1_000_000_000
# Failures to load a program: a validator includes the transaction and charges the fee.
FEES_ONLY: Final = frozenset(
    {"ProgramAccountNotFound", "InvalidProgramForExecution", "MaxLoadedAccountsDataSizeExceeded"}
)


@dataclass(frozen=True, slots=True)
class NotIncluded:
    """A transaction that no block would take: nothing was written and no fee charged."""

    err: TransactionErrorJson


@dataclass(frozen=True, slots=True)
class Reorganization:
    """The slots of the abandoned blocks, those of the fork, and the signatures that did not make it."""

    old_slots: tuple[int, ...]
    new_slots: tuple[int, ...]
    lost: tuple[str, ...]


class Ledger:
    """A chain of one node. See the module's theory of operation."""

    def __init__(
        self,
        *,
        seed: bytes,
        time_s: Callable[[int], int],
        confirmed_lag: int = 1,
        finality_lag: int = 2,
    ) -> None:
        if not 1 <= confirmed_lag <= finality_lag:
            raise ValueError(f"need 1 <= confirmed_lag <= finality_lag, not {confirmed_lag}, {finality_lag}")
        self.seed = seed
        self.time_s = time_s
        self.confirmed_lag = confirmed_lag
        self.finality_lag = finality_lag
        self.svm = Svm()
        self.index = AccountsIndex()
        self.faucet = Keypair.from_seed(hashlib.sha256(b"faucet" + seed).digest())
        self.identity = Keypair.from_seed(hashlib.sha256(b"identity" + seed).digest()).pubkey()
        self.transaction_count = 0
        self.chain: list[Block] = []  # every block of the current fork, oldest first
        self._by_slot: dict[int, Block] = {}
        self._heights: dict[Hash, int] = {}
        self._transactions: dict[str, TransactionRecord] = {}
        self._history: dict[Pubkey, list[TransactionRecord]] = {}
        self._listeners: list[Callable[[events.Event], None]] = []
        self._confirmed = self._root = 0  # positions in `chain`
        self._genesis()

    def _genesis(self) -> None:
        for mint, program in (
            (programs.NATIVE_MINT, programs.TOKEN),
            (programs.NATIVE_MINT_2022, programs.TOKEN_2022),
        ):
            data = pack_mint(mint_authority=None, supply_units=0, decimals=9, freeze_authority=None)
            self._put(mint, None, Account(self.svm.rent_exempt_lamports(len(data)), data, program))
        self._put(self.faucet.pubkey(), None, Account(FAUCET_LAMPORTS, b"", programs.SYSTEM))
        genesis = Hash(hashlib.sha256(b"genesis" + self.seed).digest())
        time_s = self.time_s(0)
        self._append(Block(0, 0, 0, str(genesis), str(Hash.default()), time_s))
        self._open(1)

    # --- reading

    @property
    def root_slot(self) -> int:
        """The newest finalized slot."""
        return self.chain[self._root].slot

    @property
    def tip(self) -> Block:
        """The newest block; the open slot builds on it."""
        return self.chain[-1]

    @property
    def genesis_hash(self) -> str:
        """The blockhash of block 0, which tells this chain from every other."""
        return self.chain[0].blockhash

    def slot_at(self, commitment: str) -> int:
        """The newest slot at a commitment; at `processed` that is the open one."""
        return self.view_block(commitment).slot

    def view_block(self, commitment: str) -> Block:
        """The newest block at a commitment; at `processed` that is the open slot."""
        if commitment == "processed":
            return self.open
        return self.chain[self._confirmed if commitment == "confirmed" else self._root]

    def block(self, slot: int) -> Block | None:
        """The block of a slot on the current fork; None for the open, a skipped or an abandoned slot."""
        return self._by_slot.get(slot)

    def blocks_between(self, first_slot: int, last_slot: int) -> list[Block]:
        """The blocks of the current fork with first_slot <= slot <= last_slot, oldest first."""
        low = self._position(first_slot)
        return self.chain[low : self._position(last_slot + 1)]

    def _position(self, slot: int) -> int:
        low, high = 0, len(self.chain)
        while low < high:
            middle = (low + high) // 2
            if self.chain[middle].slot < slot:
                low = middle + 1
            else:
                high = middle
        return low

    def transaction(self, signature: str) -> TransactionRecord | None:
        """A transaction of the current fork, the open slot included."""
        return self._transactions.get(signature)

    def history(self, key: Pubkey) -> list[TransactionRecord]:
        """The transactions that name an account, oldest first."""
        return self._history.get(key, [])

    def height_of(self, blockhash: Hash) -> int | None:
        """The height of the block with this blockhash, if it is on this fork and not long expired."""
        return self._heights.get(blockhash)

    @staticmethod
    def blockhash_bytes(blockhash: str) -> bytes:
        """The 32 bytes of a blockhash."""
        return hash_bytes(blockhash)

    def view(self, commitment: str) -> View:
        """The chain at a commitment."""
        block = self.view_block(commitment)
        tip = self.tip if block is self.open else block
        epoch = block.slot // SLOTS_PER_EPOCH
        return View(self, block.slot, block.height, tip.blockhash, tip.height, epoch, block.time_s)

    def account_at(self, key: Pubkey, slot: int) -> Account | None:
        """Read an account as it was at the end of a slot not below the root."""
        for block in self._later_blocks(slot):
            if key in block.written:
                return block.written[key]
        return self.svm.account(key)

    def is_written_after(self, key: Pubkey, slot: int) -> bool:
        """Whether an account was written in any slot after this one, the open slot included."""
        return any(key in block.written for block in self._later_blocks(slot))

    def keys_written_after(self, slot: int) -> set[Pubkey]:
        """The accounts written in any slot after this one, the open slot included."""
        return set().union(*(block.written for block in self._later_blocks(slot)))

    def _later_blocks(self, slot: int) -> list[Block]:
        later = []
        if slot < self.open.slot:
            later.append(self.open)
            for block in reversed(self.chain):
                if block.slot <= slot:
                    break
                later.append(block)
            later.reverse()
        return later

    # --- listeners

    def subscribe(self, listener: Callable[[events.Event], None]) -> Callable[[], None]:
        """Call `listener` with every event from now on; returns the function that ends it."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def publish(self, event: events.Event) -> None:
        """Tell all listeners."""
        for listener in tuple(self._listeners):
            listener(event)

    # --- writing

    def process(self, transaction: VersionedTransaction) -> TransactionRecord | NotIncluded:
        """Run a transaction in the open slot. Signatures are the caller's to check."""
        view = self.view("processed")
        refused = view.refusal(transaction)
        if refused is not None:
            return NotIncluded(refused)
        return self._run(transaction)

    def _run(self, transaction: VersionedTransaction) -> TransactionRecord | NotIncluded:
        message = transaction.message
        next_nonce = next_durable_nonce(hash_bytes(self.tip.blockhash))
        nonce_key = None
        if message.recent_blockhash not in self._heights:
            nonce_key = nonce_is_usable(message, self.svm.account, next_nonce)
        outcome = run(self.svm, transaction, self.open.slot, len(self.open.transactions), FEES_ONLY)
        if not isinstance(outcome, Outcome):
            return NotIncluded(outcome)
        record = outcome.record
        for key, before, after in outcome.writes:
            # LiteSVM derives a nonce from the transaction's own blockhash, a validator from the bank's last
            old, new = read_nonce(before), read_nonce(after)
            if after is not None and new is not None and (old is None or old[1] != new[1]):
                after = with_nonce(after, next_nonce)
                self.svm.write(key, after)
            self._note(key, before, after)
        if nonce_key is not None and record.err is not None:
            stored = self.svm.account(nonce_key)
            if stored is not None and read_nonce(stored) is not None:
                self._put(nonce_key, stored, with_nonce(stored, next_nonce))
        self.open.transactions.append(record)
        self.transaction_count += 1
        self._remember(record)
        self.publish(events.TransactionProcessed(self.open.slot, record))
        return record

    def set_account(self, key: Pubkey, account: Account | None) -> None:
        """Overwrite an account in the open slot, without a transaction; None removes it."""
        self._put(key, self.svm.account(key), account)
        self.publish(events.AccountOverwritten(self.open.slot, str(key)))

    def add_program(self, key: Pubkey, elf: bytes) -> None:
        """Load an SBF program at an address, below every view."""
        self.svm.add_program(key, elf)
        account = self.svm.account(key)
        self.index.update(key, None, account)
        if account is not None and account.owner == programs.BPF_LOADER_UPGRADEABLE:
            data_key = Pubkey(account.data[4:36])
            self.index.update(data_key, None, self.svm.account(data_key))

    def _put(self, key: Pubkey, before: Account | None, after: Account | None) -> None:
        self.svm.write(key, after)
        self._note(key, before, after)

    def _note(self, key: Pubkey, before: Account | None, after: Account | None) -> None:
        if self.chain:  # genesis accounts are below every view
            self.open.written.setdefault(key, before)
        self.index.update(key, before, after)

    def _remember(self, record: TransactionRecord) -> None:
        self._transactions[record.signature] = record
        for key in dict.fromkeys(record.account_keys):
            self._history.setdefault(key, []).append(record)

    def become(
        self,
        *,
        seed: bytes,
        lags: tuple[int, int],
        positions: tuple[int, int],
        transaction_count: int,
        chain: list[Block],
        open_slot: Block,
        accounts: Iterable[tuple[Pubkey, Account]],
    ) -> None:
        """Take over a saved state; the listeners stay and are told of the open slot."""
        listeners = self._listeners
        self.__init__(  # type: ignore[misc]
            seed=seed, time_s=self.time_s, confirmed_lag=lags[0], finality_lag=lags[1]
        )
        self._listeners = listeners
        for key, account in accounts:
            self.index.update(key, self.svm.account(key), account)
            self.svm.write(key, account)
        self.chain, self._by_slot, self._heights = [], {}, {}
        for block in chain:
            self._append(block)
        self._confirmed, self._root = positions
        self._open(open_slot.slot)
        self.open = open_slot
        self._set_clock()
        for block in [*chain, open_slot]:
            for record in block.transactions:
                self._remember(record)
        self.transaction_count = transaction_count
        self._announce_slot()

    # --- slots

    def advance(self, slots: int = 1) -> int:
        """Close the open slot into a block, `slots` times over; returns the slot that is open then."""
        for _ in range(slots):
            self._close()
            self._settle()
            self._announce_slot()
        return self.open.slot

    def skip_slots(self, slots: int = 1) -> None:
        """Let the next `slots` slots pass without a block; what is in the open slot gets one first."""
        if slots < 1:
            raise ValueError(f"cannot skip {slots} slots")
        if self.open.transactions or self.open.written:
            self.advance()
        first = self.open.slot
        self._open(first + slots)
        for slot in range(first, first + slots):
            self.publish(events.SlotSkipped(slot))
        self._announce_slot()

    def _close(self) -> None:
        block = self.open
        digest = hashlib.sha256(hash_bytes(self.tip.blockhash) + block.slot.to_bytes(8, "little"))
        for record in block.transactions:
            digest.update(record.signature.encode())
        block.blockhash = str(Hash(digest.digest()))
        self._append(block)
        self._open(block.slot + 1)
        self.publish(events.BlockProduced(block.slot, block))

    def _append(self, block: Block) -> None:
        self.chain.append(block)
        self._by_slot[block.slot] = block
        self._heights[Hash.from_string(block.blockhash)] = block.height
        expired = block.height - MAX_BLOCKHASH_AGE - 1
        if expired >= 0:
            self._heights.pop(Hash.from_string(self.chain[expired].blockhash), None)

    def _open(self, slot: int) -> None:
        """Open a slot on the tip: its clock and its recent hashes are what programs see in it."""
        tip = self.tip
        time_s = max(self.time_s(slot), tip.time_s)
        self.open = Block(slot, tip.slot, tip.height + 1, "", tip.blockhash, time_s)
        self._set_clock()
        self.svm.set_recent_hashes(
            [(block.slot, hash_bytes(block.blockhash)) for block in reversed(self.chain[-512:])]
        )

    def _set_clock(self) -> None:
        slot = self.open.slot
        epoch_start = slot // SLOTS_PER_EPOCH * SLOTS_PER_EPOCH
        self.svm.open_slot(slot, self.open.time_s, self.time_s(epoch_start))

    def _announce_slot(self) -> None:
        self.publish(events.SlotOpened(self.open.slot, self.open.parent_slot, self.root_slot))

    def _settle(self) -> None:
        """Move the commitments up to their depth below the open slot."""
        while self._confirmed < len(self.chain) - self.confirmed_lag:
            self._confirmed += 1
            block = self.chain[self._confirmed]
            self.publish(events.SlotConfirmed(block.slot, block))
        while self._root < len(self.chain) - self.finality_lag:
            self._root += 1
            block = self.chain[self._root]
            self.publish(events.SlotRooted(block.slot, block))
            block.written = {}

    # --- forks

    def abandon(self, depth: int) -> tuple[tuple[Block, ...], tuple[TransactionRecord, ...]]:
        """Drop the last `depth` blocks and the open slot's transactions; the state is as before them.

        Returns the blocks, oldest first, and the open slot's transactions. Raises ValueError when a block
        that deep is finalized.
        """
        if not 0 <= depth <= len(self.chain) - 1 - self._root:
            raise ValueError(
                f"cannot abandon {depth} blocks: {len(self.chain) - 1 - self._root} are unfinalized"
            )
        open_slot = self.open
        dropped = self.chain[len(self.chain) - depth :]
        for block in [open_slot, *reversed(dropped)]:
            for key, before in block.written.items():
                now = self.svm.account(key)
                self.svm.write(key, before)
                self.index.update(key, now, before)
            for record in reversed(block.transactions):
                self._forget(record)
        for block in dropped:
            del self._by_slot[block.slot]
            self._heights.pop(Hash.from_string(block.blockhash), None)
        del self.chain[len(self.chain) - depth :]
        self._restore_expired()
        self._confirmed = min(self._confirmed, len(self.chain) - 1)
        self._open(open_slot.slot + 1)
        records = tuple(open_slot.transactions)
        self.publish(events.ForkAbandoned(self.tip.slot, tuple(dropped), records))
        self._announce_slot()
        return tuple(dropped), records

    def _restore_expired(self) -> None:
        """Blockhashes that had expired on the dropped blocks are young enough again."""
        for block in self.chain[-MAX_BLOCKHASH_AGE - 1 :]:
            self._heights.setdefault(Hash.from_string(block.blockhash), block.height)

    def _forget(self, record: TransactionRecord) -> None:
        self.transaction_count -= 1
        del self._transactions[record.signature]
        for key in dict.fromkeys(record.account_keys):
            records = self._history[key]
            records.remove(record) if records[-1] is not record else records.pop()
            if not records:
                del self._history[key]

    def reorg(self, depth: int, drop: Iterable[str] | None = frozenset()) -> Reorganization:
        """Replace the last `depth` blocks by a fork at later slots that runs their transactions but `drop`.

        `drop=None` drops all. Transactions that no longer pass (a blockhash of an abandoned block) are
        lost. The open slot follows in the same way. Raises ValueError when a block that deep is
        finalized.
        """
        if depth < 1:
            raise ValueError(f"cannot reorganize {depth} blocks")
        dropped, open_records = self.abandon(depth)
        unwanted = None if drop is None else frozenset(drop)
        lost: list[str] = []
        new_slots: list[int] = []
        for group in [*(block.transactions for block in dropped), open_records]:
            for record in group:
                wanted = unwanted is not None and record.signature not in unwanted
                if not wanted or isinstance(self.process(record.transaction), NotIncluded):
                    lost.append(record.signature)
            if len(new_slots) < depth:
                new_slots.append(self.open.slot)
                self.advance()
        return Reorganization(tuple(block.slot for block in dropped), tuple(new_slots), tuple(lost))
