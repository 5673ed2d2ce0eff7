"""What a benchmark says: tables for people, JSON for programs, targets beside what was measured, met or not."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Drawn

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Target:
    """A limit that was promised. `measured` None means that this run could not say."""

    name: str
    limit: float
    measured: float | None
    unit: str
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        if self.measured is None or math.isnan(self.measured):
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under their columns."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(slots=True)
class Report:
    """One part of a benchmark. `data` holds what the tables were made of."""

    part: str
    title: str
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def document(self, machine: dict[str, Any]) -> dict[str, Any]:
        """The report as JSON holds it: numbers that are none become null."""
        return {
            "part": self.part,
            "title": self.title,
            "machine": machine,
            "notes": list(self.notes),
            "targets": [{**asdict(target), "met": target.met} for target in self.targets],
            "tables": [
                {"title": one.title, "columns": list(one.columns), "rows": [list(row) for row in one.rows]}
                for one in self.tables
            ],
            "data": self.data,
        }

    def write(self, folder: Path, name: str, machine: dict[str, Any]) -> Path:
        """Write ``<name>.json`` and return where it is."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.json"
        path.write_text(json.dumps(_finite(self.document(machine)), indent=1) + "\n", encoding="utf-8")
        return path

    def show(self, console: Console) -> None:
        """Print everything but `data`."""
        console.rule(f"({self.part}) {self.title}", align="left")
        for note in self.notes:
            console.print(f"· {note}", style="dim", highlight=False)
        for one in self.tables:
            console.print(_drawn(one))
        if self.targets:
            console.print(_drawn(_targets(self.targets)))


def _targets(targets: Sequence[Target]) -> Table:
    verdicts = {True: "[green]met[/green]", False: "[bold red]MISSED[/bold red]", None: "[yellow]not measured[/yellow]"}
    rows = [
        [one.name, one.measured, f"{'≥' if one.at_least else '≤'} {number(one.limit)} {one.unit}", verdicts[one.met]]
        for one in targets
    ]
    return Table("Targets", ("what", "measured", "target", ""), rows)


def _drawn(table: Table) -> Drawn:
    drawn = Drawn(title=table.title, title_justify="left", title_style="bold")
    for index, column in enumerate(table.columns):
        drawn.add_column(column, justify="left" if index == 0 else "right")
    for row in table.rows:
        drawn.add_row(*(number(cell) for cell in row))
    return drawn


def number(cell: Cell) -> str:
    """A cell as it is printed: three digits that count, a dash for nothing."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "-"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or cell == 0.0 or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.{max(0, 2 - math.floor(math.log10(abs(cell))))}f}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
