"""What a command prints: only JSON on stdout with `--json`, otherwise words for people; progress on stderr."""

import json
import sys
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from clients.errors import SeleneError

_ROOM: Final = 1000
"""Columns, more than any table asks for."""


class Output:
    """Where a command's words go."""

    def __init__(self, *, as_json: bool, out: Console | None = None, err: Console | None = None) -> None:
        self.as_json = as_json
        self.out = out or Console()
        self.err = err or Console(stderr=True)

    def show(self, document: Mapping[str, Any], rendered: RenderableType) -> None:
        """The result: one JSON document, or ``rendered``."""
        if self.as_json:
            self._json(document, indent=2)
        elif isinstance(rendered, Table) and rendered.show_header and not rendered.row_count:
            self.out.print("there is none")
        else:
            whole(self.out, rendered)

    def document(self, document: Mapping[str, Any]) -> None:
        """A result that is JSON whichever way it is asked for."""
        self._json(document, indent=2)

    def line(self, document: Mapping[str, Any], rendered: RenderableType | None = None) -> None:
        """One of many results: a JSON line, or ``rendered`` if there is any."""
        if self.as_json:
            self._json(document, indent=None)
        elif rendered is not None:
            self.out.print(rendered, soft_wrap=True)  # one result stays one line for grep

    def note(self, text: str) -> None:
        """Something worth knowing that is no result; on stderr."""
        self.err.print(Text(text), soft_wrap=True)  # what is told to be typed can be copied

    def fail(self, error: SeleneError) -> None:
        """A call that failed: one line on stderr, and a document on stdout with `--json`."""
        self.err.print(Text(str(error), style="red"), soft_wrap=True)
        if self.as_json:
            self._json(error.document(), indent=None)

    def misuse(self, text: str) -> None:
        """The command cannot be carried out as it was given."""
        self.err.print(Text(text, style="red"), soft_wrap=True)
        if self.as_json:
            self._json({"error": {"reason": "USAGE", "message": text}}, indent=None)

    def _json(self, document: Mapping[str, Any], *, indent: int | None) -> None:
        # One write a document: a reader of the pipe never sees half a line, and rich never wraps one.
        sys.stdout.write(json.dumps(document, indent=indent, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def whole(console: Console, rendered: RenderableType) -> None:
    """Prints it with every cell whole, whatever room there is: a pipe has room enough, a terminal gets `fitted`."""
    if console.is_terminal:
        console.print(fitted(console, rendered))
        return
    room = console.options.update(width=_ROOM)
    console.width = max(console.width, console.measure(rendered, options=room).maximum)
    console.print(rendered)


def fitted(console: Console, rendered: RenderableType) -> RenderableType:
    """The same; a table in which a word would be cut has its rows below each other, a line a cell."""
    if isinstance(rendered, Group):
        return Group(*(fitted(console, each) for each in rendered.renderables))
    if not isinstance(rendered, Table):
        return rendered
    asked = console.measure(rendered, options=console.options.update(width=_ROOM))
    if rendered.show_header and asked.minimum > console.width:
        return _records(rendered)
    for column in rendered.columns:
        column.overflow = "fold"
        if rendered.show_header:
            # Room is taken from the columns that can wrap: rich takes it from the widest ones, and cuts their words.
            cells = [console.measure(cell) for cell in (column.header, *column.cells)]
            column.no_wrap = max(cell.minimum for cell in cells) == max(cell.maximum for cell in cells)
    return rendered


def _records(table: Table) -> Table:
    """Each row as lines of heading and cell, without its empty cells; a blank line between rows."""
    lines = (Column(style="dim", no_wrap=True), Column(overflow="fold"))
    made = Table(*lines, box=None, pad_edge=False, show_header=False)
    headings = [column.header for column in table.columns]
    for index, row in enumerate(zip(*(column.cells for column in table.columns), strict=True)):
        if index:
            made.add_row()
        for heading, cell in zip(headings, row, strict=True):
            if cell != "" and not (isinstance(cell, Text) and not cell.plain):
                made.add_row(heading, cell)
    return made
