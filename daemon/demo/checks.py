"""What the demo claims, and whether it held. Money is compared to the unit."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(slots=True)
class Checks:
    """A list of claims; every one is checked when it is made and shown at the end."""

    console: Console
    held: list[tuple[str, bool, str]] = field(default_factory=list)

    def equal(self, claim: str, found: object, expected: object) -> None:
        """Claim that two values are the same."""
        good = found == expected
        self.held.append((claim, good, "" if good else f"found {found!r}, expected {expected!r}"))
        if not good:
            self.console.print(f"[bold red]✗ {claim}: found {found!r}, expected {expected!r}[/]")

    @property
    def all_held(self) -> bool:
        """Say whether every claim held, and there were some."""
        return bool(self.held) and all(good for _, good, _ in self.held)

    def show(self) -> None:
        """Show every claim with its verdict."""
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_column(width=2)
        table.add_column()
        for claim, good, fault in self.held:
            table.add_row(
                "[green]✓[/]" if good else "[red]✗[/]", claim if good else f"[red]{claim}: {fault}[/]"
            )
        self.console.print(table)
