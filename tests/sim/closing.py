"""What the auditor expects of borrows in a liquidation: repaid, bought back, taken over (R22)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from engine.units import SETTLEMENT_ASSET

from . import formulas as f
from .ledger import Ledger
from .lending import Lending
from .settling import Settler


@dataclass(slots=True)
class BorrowCloser:
    """Closes the borrows of one in liquidation, a small step at a time."""

    ledger: Ledger
    lending: Lending
    settler: Settler
    small_step: Callable[
        [str, str, int, int], int
    ]  # name, market, units to sell (below 0: buy), size at entry
    has_recovered: Callable[[str], bool]

    def close(
        self, name: str, entry: dict[str, int], to_fund: Callable[[str, str, int], None] | None
    ) -> bool:
        """R22: largest maintenance margin first, ties by symbol; True when anything moved.

        `to_fund` is told (name, asset, units) of what the fund takes over; None: it takes nothing over.
        """
        ledger, moved = self.ledger, False
        owed = [one.symbol for one in ledger.params.assets if ledger.books.borrowed[name, one.symbol]]
        for asset in sorted(owed, key=lambda one: (-ledger.borrow_maintenance_of(name, one), one)):
            if self.has_recovered(name):
                break
            moved |= self._repay(name, asset)
            if ledger.books.borrowed[name, asset]:
                moved |= self._raise_dollars(name, asset, entry)
                moved |= self._buy(name, asset, entry)
                moved |= self._repay(name, asset)
            if to_fund is not None and ledger.books.borrowed[name, asset]:
                self._to_fund(name, asset, to_fund)
        return moved

    def _repay(self, name: str, asset: str) -> bool:
        """R22, 1: cash, then lent units."""
        return self.lending.repay_all(name, asset) > 0

    def _limit(self, asset: str, *, is_buy: bool) -> int:
        market = self.ledger.spot_market(asset)
        assert market is not None
        band = Fraction(market.liquidation_band_ppm, f.PPM)
        index = self.ledger.index(asset)
        return floor(index * (1 + band)) if is_buy else ceil(index * (1 - band))

    def _lots_owed(self, name: str, asset: str) -> int:
        """What is owed, up to whole lots."""
        market = self.ledger.spot_market(asset)
        assert market is not None
        return ceil(Fraction(self.ledger.owed_units(name, asset), market.lot_units)) * market.lot_units

    def _raise_dollars(self, name: str, asset: str, entry: dict[str, int]) -> bool:
        """R22, 2: other cash that is not itself borrowed is sold, lowest haircut first."""
        ledger, moved = self.ledger, False
        needed = ledger.owed_units(name, asset)
        if asset != SETTLEMENT_ASSET:
            if ledger.spot_market(asset) is None or not ledger.index(asset):
                return False
            price = self._limit(asset, is_buy=True)
            needed = ceil(f.value(self._lots_owed(name, asset), price, ledger.decimals(asset)))
        for other in sorted(ledger.params.assets, key=lambda one: (one.haircut_ppm, one.symbol)):
            symbol, market = other.symbol, ledger.spot_market(other.symbol)
            shortage = needed - ledger.free(name, SETTLEMENT_ASSET)
            free = ledger.free(name, symbol)
            if shortage <= 0 or market is None or not ledger.index(symbol):
                continue
            if symbol in (asset, SETTLEMENT_ASSET) or ledger.books.borrowed[name, symbol] or free <= 0:
                continue
            price = self._limit(symbol, is_buy=False)
            units = ceil(Fraction(shortage * 10 ** (other.decimals + 2), price))
            wanted = min(ceil(Fraction(units, market.lot_units)) * market.lot_units, free)
            size = entry.setdefault(f"sell {symbol}", free)
            moved |= self.small_step(name, market.symbol, wanted, size) > 0
        return moved

    def _buy(self, name: str, asset: str, entry: dict[str, int]) -> bool:
        """R22, 3: the asset is bought with free dollars."""
        ledger, market = self.ledger, self.ledger.spot_market(asset)
        if asset == SETTLEMENT_ASSET or market is None or not ledger.index(asset):
            return False
        wanted = self._lots_owed(name, asset)
        size = entry.setdefault(f"buy {asset}", wanted)
        wanted = min(wanted, self.payable_lots(name, asset))
        return self.small_step(name, market.symbol, -wanted, size) > 0

    def payable_lots(self, name: str, asset: str) -> int:
        """R22: as much as free dollars pay at the limit, in whole lots."""
        ledger, market = self.ledger, self.ledger.spot_market(asset)
        assert market is not None
        price, dollars = self._limit(asset, is_buy=True), ledger.free(name, SETTLEMENT_ASSET)
        units = floor(Fraction(dollars * 10 ** (ledger.decimals(asset) + 2), price)) if price else 0
        return f.lots(units, market.lot_units)

    def _to_fund(self, name: str, asset: str, count: Callable[[str, str, int], None]) -> None:
        """R22, 4: the fund takes over the rest, with the haircut when the account can bear it."""
        ledger = self.ledger
        index = ledger.index(asset)
        if self.has_recovered(name) or ledger.waits_for_index(asset):
            return
        owed, scale = ledger.owed_units(name, asset), 10 ** (ledger.decimals(asset) + 2)
        dear = ceil(index * (1 + Fraction(ledger.asset(asset).haircut_ppm, f.PPM)))
        full, plain = ceil(Fraction(owed * dear, scale)), ceil(Fraction(owed * index, scale))
        usd6 = min(full, plain + max(0, ledger.risk(name).account_value))
        self.lending.take_over(name, asset, dear if usd6 == full else index, usd6=usd6)
        count(name, asset, owed)
        self.settler.collect(name)
