"""What the auditor expects of a liquidation, from entry to its end (R20-R24), in fractions."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

from engine import events as e
from engine.units import INSURANCE_FUND, SETTLEMENT_ASSET

from . import formulas as f
from . import settling
from .closing import BorrowCloser
from .ledger import Change, Ledger
from .matching import Matcher
from .settling import Settler
from .stages import Counters

MINUTE_NS, HOUR_NS = 60 * 10**9, 3_600 * 10**9


@dataclass(slots=True)
class Case:
    """One subaccount in liquidation: when its next step is due, what it held at entry (R20)."""

    number: int
    next_step_ns: int
    entry: dict[str, int]
    idle_steps: int = 0


@dataclass(slots=True)
class Window:
    """What a provider took since a minute (or hour) began (R23)."""

    lasts_ns: int
    since_ns: int | None = None
    used: int = 0

    def left(self, limit: int, now_ns: int) -> int:
        """What may still be taken now."""
        return limit - (self.used if self._is_running(now_ns) else 0)

    def take(self, usd6: int, now_ns: int) -> None:
        """Note a fill; the first after the last window ended begins a new one."""
        if not self._is_running(now_ns):
            self.since_ns, self.used = now_ns, 0
        self.used += usd6

    def _is_running(self, now_ns: int) -> bool:
        return self.since_ns is not None and now_ns < self.since_ns + self.lasts_ns


@dataclass(slots=True)
class Liquidator:
    """Runs every liquidation of the exchange; `books.liquidations` has their stages, in order of entry."""

    ledger: Ledger
    matcher: Matcher
    settler: Settler
    closer: BorrowCloser = field(init=False)
    counters: Counters = field(default_factory=Counters)
    cases: dict[str, Case] = field(default_factory=dict)
    entered: int = 0
    windows: dict[tuple[str, str], tuple[Window, Window]] = field(default_factory=dict)
    next_inventory_ns: int = 0
    inventory: dict[str, tuple[int, int]] = field(default_factory=dict)  # at entry, left after the last step
    ranked: defaultdict[tuple[str, bool], list[str]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.closer = BorrowCloser(
            self.ledger, self.settler.lending, self.settler, self._small_step, self.has_recovered
        )

    def run(self) -> bool:
        """R20: whoever fails enters, in canonical order; then whoever is due makes a step; did anybody?"""
        ledger = self.ledger
        self.ranked.clear()
        for name in ledger.customers():
            if name not in ledger.debt_since_ns and name not in self.cases and ledger.is_failing(name):
                self._enter(name)
        due = [name for name, case in self.cases.items() if ledger.now_ns >= case.next_step_ns]
        for name in due:
            self.cases[name].next_step_ns = ledger.now_ns + ledger.params.step_ns
            self._step(name)
        return bool(due)

    # -- R21

    def _enter(self, name: str) -> None:
        ledger = self.ledger
        risk = ledger.risk(name)
        ledger.emit(e.LiquidationStarted(name, risk.net_equity, risk.account_value, risk.maintenance))
        ledger.cancel_orders(name, "liquidation")
        settling.cancel_queued(ledger, name)
        settling.realize(ledger, name)
        self.settler.redeem_and_repay(name)
        entry = {m.symbol: abs(ledger.books.base[name, m.symbol]) for m in ledger.perpetuals()}
        self.entered += 1
        self.cases[name] = Case(self.entered, ledger.now_ns, entry)

    # -- R20, one step

    def _step(self, name: str) -> None:
        ledger, case = self.ledger, self.cases[name]
        if self._is_over(name):
            return
        if ledger.books.liquidations[name] == "book":
            if self._below_acmf(name):
                ledger.emit(e.LiquidationStageChanged(name, "backstop", "below_acmf"))
            elif case.idle_steps >= ledger.params.stage1_patience:
                ledger.emit(e.LiquidationStageChanged(name, "backstop", "no_progress"))
        if ledger.books.liquidations[name] == "book":
            filled = self._on_the_book(name, self._markets(name)) > 0
            filled |= self.closer.close(name, case.entry, None)
            case.idle_steps = 0 if filled else case.idle_steps + 1
            self._is_over(name)
            return
        self._on_the_book(name, [one for one in self._markets(name) if self._is_stale(one)])
        if ledger.books.liquidations[name] == "backstop":
            self._to_providers(name)
            if self._fresh(name) and not self.has_recovered(name):
                ledger.emit(e.LiquidationStageChanged(name, "adl", "backstop_exhausted"))
        if ledger.books.liquidations[name] == "adl":
            self._deleverage(name)
        self.closer.close(name, case.entry, self._count_taken_over)
        self._is_over(name)

    def _is_over(self, name: str) -> bool:
        ledger = self.ledger
        if ledger.has_base(name) or ledger.owes(name):
            if not self.has_recovered(name):
                return False
            self._end(name, "recovered")
            return True
        settling.realize(ledger, name)
        self.settler.collect(name)
        self.settler.declare_bankrupt(name)
        if name in ledger.books.bankrupt:
            self._end(name, "bankrupt")
        elif self.has_recovered(name):
            self._end(name, "closed")
        else:
            return False
        return True

    def _end(self, name: str, outcome: str) -> None:
        self.ledger.emit(e.LiquidationEnded(name, outcome))
        del self.cases[name]

    def has_recovered(self, name: str) -> bool:
        """R20: net equity of 105% of maintenance margin, and account value not below zero."""
        risk = self.ledger.risk(name)
        enough = Fraction(risk.maintenance * self.ledger.params.liquidation_end_ppm, f.PPM)
        return risk.net_equity >= enough and risk.account_value >= 0

    def _below_acmf(self, name: str) -> bool:
        """R23: margin fraction < max(MMF / 2, MMF - gap)."""
        risk = self.ledger.risk(name)
        if risk.exposure == 0:
            return False
        fraction = Fraction(risk.net_equity, risk.exposure)
        mmf = Fraction(risk.maintenance, risk.exposure)
        return fraction < max(mmf / 2, mmf - Fraction(self.ledger.params.acmf_gap_ppm, f.PPM))

    def _markets(self, name: str) -> list[str]:
        """R22: markets with base, largest maintenance margin first, ties by symbol."""
        held = [m.symbol for m in self.ledger.perpetuals() if self.ledger.books.base[name, m.symbol]]
        return sorted(held, key=lambda market: (-self.ledger.maintenance_of(name, market), market))

    def _fresh(self, name: str) -> list[str]:
        return [one for one in self._markets(name) if not self._is_stale(one)]

    def _is_stale(self, market: str) -> bool:
        """R13, R20: its index (once set) or its mark is stale."""
        asset = next(one.asset for one in self.ledger.perpetuals() if one.symbol == market)
        stale_index = asset in self.ledger.index_time_ns and self.ledger.is_index_stale(asset)
        return stale_index or self.ledger.is_mark_stale(market)

    # -- R22

    def _on_the_book(self, name: str, markets: list[str]) -> int:
        """R22: a tenth of the size at entry, a quarter of what is visible inside the band; units filled."""
        filled = 0
        for market in markets:
            if self.has_recovered(name):
                break
            base = self.ledger.books.base[name, market]
            filled += self._small_step(name, market, base, self.cases[name].entry.get(market, 0))
        return filled

    def _small_step(self, name: str, market: str, left: int, entry: int) -> int:
        """R22: sell what is left (buy when it is below zero), a little of it, inside the band."""
        params = self.ledger.market(market)
        mark, lot, band = (
            self.ledger.reference(params),
            params.lot_units,
            Fraction(params.liquidation_band_ppm, f.PPM),
        )
        tenth = Fraction(entry * self.ledger.params.liquidation_step_ppm, f.PPM)
        wanted = f.lots(min(abs(left), max(lot, f.lots(tenth, lot))), lot)
        is_buy = left < 0
        limit = floor(mark * (1 + band)) if is_buy else ceil(mark * (1 - band))
        visible = self.matcher.visible(market, is_buy, limit)
        share = Fraction(visible * self.ledger.params.depth_share_ppm, f.PPM)
        units = min(wanted, f.lots(share, lot))
        filled = self.matcher.take(name, market, is_buy, units, limit) if units > 0 else 0
        if filled:
            self._count("book", name, market, filled)
        return filled

    def _count_taken_over(self, name: str, asset: str, units: int) -> None:
        """R22: what the fund takes over of a market's asset counts under "backstop"."""
        if asset == SETTLEMENT_ASSET:
            return
        usd6 = floor(f.value(units, self.ledger.index(asset), self.ledger.decimals(asset)))
        self.counters.fill("backstop", (name, self.cases[name].number), usd6, self.ledger.now_ns)

    def _count(self, stage: str, name: str, market: str, units: int) -> None:
        """R25: a fill of a liquidation, at mark (of a spot market at index), rounded down."""
        if name not in self.cases:  # the fund's inventory is no liquidation
            return
        params = self.ledger.market(market)
        notional = f.value(abs(units), self.ledger.reference(params), self.ledger.decimals(params.asset))
        self.counters.fill(stage, (name, self.cases[name].number), floor(notional), self.ledger.now_ns)

    # -- the fund's inventory (R28)

    def sell_inventory(self) -> None:
        """R28: one small step per asset that the fund holds or owes."""
        ledger = self.ledger
        if ledger.now_ns < self.next_inventory_ns:
            return
        for asset in ledger.params.assets:
            market = next((m for m in ledger.params.markets if m.is_spot and m.asset == asset.symbol), None)
            net = self._inventory(asset.symbol)
            if asset.symbol == SETTLEMENT_ASSET or net == 0:
                continue
            self.next_inventory_ns = ledger.now_ns + ledger.params.step_ns
            entry, left = self.inventory.get(asset.symbol, (0, 0))
            entry = abs(net) if abs(net) > left else entry
            if market is not None and not ledger.is_index_stale(asset.symbol):
                most, lot = self.closer.payable_lots(INSURANCE_FUND, asset.symbol), market.lot_units
                # What is owed is bought up to whole lots.
                wanted = net if net > 0 else -min(ceil(Fraction(-net, lot)) * lot, most)
                self._small_step(INSURANCE_FUND, market.symbol, wanted, entry)
            self.inventory[asset.symbol] = (entry, abs(self._inventory(asset.symbol)))

    def _inventory(self, asset: str) -> int:
        return self.ledger.books.cash[INSURANCE_FUND, asset] - self.ledger.owed_units(INSURANCE_FUND, asset)

    # -- R23

    def _to_providers(self, name: str) -> None:
        ledger = self.ledger
        for market in self._fresh(name):
            if self.has_recovered(name):
                return
            base = ledger.books.base[name, market]
            side = 1 if base > 0 else -1
            room = {one: self._room(one, market, side) for one in self._providers(name)}
            room = {one: units for one, units in room.items() if units > 0}
            total = min(sum(room.values()), abs(base))
            if total == 0:
                continue
            share = max(0, self._share(name, market))
            for one, units in zip(room, f.pro_rata(total, list(room.values())), strict=True):
                if units:
                    self._fill_backstop(
                        name, one, market, side * units, floor(Fraction(share * units, abs(base)))
                    )

    def _providers(self, name: str) -> list[str]:
        books = self.ledger.books
        able = [one for one in self.ledger.customers() if one in books.backstops and one != name]
        return [one for one in able if one not in books.liquidations and one not in books.bankrupt]

    def _room(self, provider: str, market: str, side: int) -> int:
        """R23: units a provider can take, by its capacity and then by its own initial margin."""
        ledger = self.ledger
        limits = ledger.books.backstops[provider].get(market, (0, 0))
        windows = self._windows(provider, market)
        left = min(one.left(limit, ledger.now_ns) for one, limit in zip(windows, limits, strict=True))
        scale = 10 ** (ledger.decimals(ledger.market(market).asset) + 2)
        high = floor(Fraction(max(0, left) * scale, ledger.books.mark_prices[market]))

        def passes(units: int) -> bool:
            before = ledger.books.base[provider, market]
            change = side * units
            quote = ledger.position_value(market, before) - ledger.position_value(market, before + change)
            risk = ledger.risk(provider, Change(trades={market: (change, quote)}))
            return risk.vouched_equity >= risk.initial

        if high <= 0 or passes(high):
            return max(0, high)
        low = 0
        while low + 1 < high:
            middle = ceil(Fraction(low + high, 2))
            low, high = (middle, high) if passes(middle) else (low, middle)
        return low

    def _windows(self, provider: str, market: str) -> tuple[Window, Window]:
        return self.windows.setdefault((provider, market), (Window(MINUTE_NS), Window(HOUR_NS)))

    def _share(self, name: str, market: str) -> int:
        """R23: a position's share of net equity, by maintenance margin."""
        risk = self.ledger.risk(name)
        if risk.net_equity <= 0:
            return 0
        return floor(Fraction(risk.net_equity * self.ledger.maintenance_of(name, market), risk.maintenance))

    def _fill_backstop(self, name: str, provider: str, market: str, units: int, released: int) -> None:
        """A provider takes `units` (signed as the position is)."""
        ledger = self.ledger
        mark = ledger.books.mark_prices[market]
        scale = 10 ** (ledger.decimals(ledger.market(market).asset) + 2)
        own, other = self._closing_at_mark(name, provider, market, -units)
        to_provider = floor(Fraction(released * 2, 3))
        away = floor(Fraction(released * scale, abs(units)))
        ledger.emit(
            e.BackstopFilled(
                subaccount=name,
                provider=provider,
                market=market,
                base_units=-units,
                mark_price_e8=mark,
                price_e8=mark - away if units > 0 else mark + away,
                quote_usd6=own - released,
                provider_quote_usd6=other + to_provider,
                rounding_usd6=-own - other,
                released_usd6=released,
                provider_usd6=to_provider,
                fund_usd6=released - to_provider,
                base_left_units=ledger.books.base[name, market] - units,
            )
        )
        self._count("backstop", name, market, units)
        notional = ceil(f.value(abs(units), mark, ledger.decimals(ledger.market(market).asset)))
        for window in self._windows(provider, market):
            window.take(notional, ledger.now_ns)

    # -- R24

    def _deleverage(self, name: str) -> None:
        for market in self._fresh(name):
            if self.has_recovered(name):
                return
            self._net(name, market)
            if self.has_recovered(name):
                return
            if self.ledger.books.base[name, market]:
                self._reduce_holders(name, market)

    def _net(self, name: str, market: str) -> None:
        """R24: against opposite positions of others in liquidation, in order of entry, at mark."""
        ledger = self.ledger
        for other in list(ledger.books.liquidations):
            base, opposite = ledger.books.base[name, market], ledger.books.base[other, market]
            if base * opposite >= 0:
                continue
            units = min(abs(base), abs(opposite)) * (1 if base > 0 else -1)
            mine, his = self._closing_at_mark(name, other, market, -units)
            mark = ledger.books.mark_prices[market]
            ledger.emit(
                e.PositionsNetted(name, other, market, -units, mark, mine, his, -mine - his, base - units)
            )
            self._count("netting", name, market, units)

    def _reduce_holders(self, name: str, market: str) -> None:
        ledger = self.ledger
        size = abs(ledger.books.base[name, market])
        risk, share = ledger.risk(name), self._share(name, market)
        missing = 0
        if risk.account_value < 0 and risk.net_equity <= 0:
            part = Fraction(ledger.maintenance_of(name, market), risk.maintenance)
            missing = ceil(-risk.account_value * part)
        left = missing
        while base := ledger.books.base[name, market]:
            found = self._next_holder(name, market, base)
            if found is None:
                return
            holder, group, most = found
            units = min(abs(base), most)
            gain = floor(Fraction(share * units, size))
            wants = min(left, ceil(Fraction(missing * units, size)))
            his_base = ledger.books.base[holder, market]
            profit = max(0, self._unrealized(holder, market))
            takes = min(wants, floor(Fraction(profit * units, abs(his_base))))
            left -= wants
            self._reduce(
                name, holder, market, (1 if base > 0 else -1) * units, takes - gain, wants - takes, group
            )

    def _unrealized(self, name: str, market: str) -> int:
        base, quote = self.ledger.books.base[name, market], self.ledger.books.quote[name, market]
        return self.ledger.position_value(market, base) + quote

    def _next_holder(self, name: str, market: str, base: int) -> tuple[str, str, int] | None:
        """R24: who is first now: (holder, group, the most he is reduced by)."""
        ranked = []
        for place, one in enumerate(self.ledger.customers()):
            his = self.ledger.books.base[one, market]
            if one == name or one in self.ledger.books.liquidations or his * base >= 0:
                continue
            delta, risk = self._net_delta(one, market), self.ledger.risk(one)
            first = delta * his > 0
            fraction = Fraction(risk.net_equity, risk.exposure)
            key = (0 if first else 1, fraction, -self._unrealized(one, market), place)
            most = min(abs(his), abs(delta)) if first else abs(his)
            ranked.append((key, one, "reduces_delta" if first else "hedge", most))
        if not ranked:
            return None
        _, one, group, most = min(ranked)
        return one, group, most

    def _net_delta(self, name: str, market: str) -> int:
        """R24: base over the markets of the asset, cash, lent, less borrowed."""
        asset, ledger = self.ledger.market(market).asset, self.ledger
        base = sum(ledger.books.base[name, one.symbol] for one in ledger.perpetuals() if one.asset == asset)
        spot = (
            ledger.books.cash[name, asset] + ledger.lent_units(name, asset) - ledger.owed_units(name, asset)
        )
        return base + spot

    def _reduce(
        self, name: str, holder: str, market: str, units: int, moved: int, deficit: int, group: str
    ) -> None:
        """Close `units` (signed as the position) at mark; the holder gives up `moved` besides."""
        ledger = self.ledger
        mark = ledger.books.mark_prices[market]
        scale = 10 ** (ledger.decimals(ledger.market(market).asset) + 2)
        mine, his = self._closing_at_mark(name, holder, market, -units)
        away = floor(Fraction(abs(moved) * scale, abs(units)))
        # The liquidated long sells above mark when the holder gives something up, below when he gains.
        up = (units > 0) == (moved > 0)
        reduced = self.ranked[market, units > 0]
        if holder not in reduced:
            reduced.append(holder)
        self._count("adl", name, market, units)
        ledger.emit(
            e.AutoDeleveraged(
                subaccount=name,
                counterparty=holder,
                market=market,
                base_units=-units,
                mark_price_e8=mark,
                price_e8=mark + away if up else mark - away,
                quote_usd6=mine + moved,
                counterparty_quote_usd6=his - moved,
                rounding_usd6=-mine - his,
                forgone_usd6=moved,
                deficit_usd6=deficit,
                group=group,
                rank=reduced.index(holder) + 1,
                base_left_units=ledger.books.base[name, market] - units,
            )
        )

    def _closing_at_mark(self, name: str, other: str, market: str, base: int) -> tuple[int, int]:
        """R23: each side's quote changes by the value of its base before less after."""
        sides = []
        for one, change in ((name, base), (other, -base)):
            before = self.ledger.books.base[one, market]
            worth = self.ledger.position_value(market, before)
            sides.append(worth - self.ledger.position_value(market, before + change))
        return sides[0], sides[1]
