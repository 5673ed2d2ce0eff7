"""`selene lineage`: what something was learned from, and what came of it, as a tree."""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.text import Text
from rich.tree import Tree as Drawn

from clients.cli.registry import Commands
from clients.cli.session import EXIT_CODES, USAGE, Session, remote
from clients.gold import Gold, Tree

KINDS: Final = ("signal", "gold", "artifact")
_COLOURS: Final = {"signal": "#2b6cb0", "gold": "#b7791f", "artifact": "#2f855a"}
_ROW, _INDENT, _WIDTH, _MARGIN = 26, 28, 720, 12

_Ref = Annotated[str, typer.Argument(help="signal:<id>, gold:<id> or artifact:<id>")]
_Descendants = Annotated[bool, typer.Option("--descendants", "-d", help="What it led to, instead of where it is from")]
_Svg = Annotated[Path | None, typer.Option("--svg", help="Draw it into this file", dir_okay=False)]


def register(commands: Commands) -> None:
    """Adds the command."""
    commands.app.command("lineage", epilog=EXIT_CODES)(remote(lineage, owner="learning"))


async def lineage(session: Session, ref: _Ref, descendants: _Descendants = False, svg: _Svg = None) -> int | None:
    """Show everything that a signal, a gold set or an artifact came from, or led to.

    \b
      selene lineage gold:01985-…
      selene lineage signal:signal-7 --descendants --svg lineage.svg
    """
    if ref.partition(":")[0] not in KINDS or not ref.partition(":")[2]:
        session.output.misuse(f"{ref!r} is none of signal:<id>, gold:<id> and artifact:<id>")
        return USAGE
    gold = Gold(session.connection, tenant_id=session.settings.tenant, timeout=session.settings.timeout)
    found = await gold.tree(ref, descendants=descendants)
    if svg is not None:
        svg.write_text(drawn(found), encoding="utf-8")
        session.output.note(f"drawn into {svg}")
    session.output.show(_document(found), _rendered(found))
    return None


def drawn(tree: Tree) -> str:
    """The tree as SVG, a row a ref. What is said again is not drawn again."""
    rows = list(_rows(tree, 0, -1))
    height = len(rows) * _ROW + 2 * _MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="monospace" '
        'font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, (ref, depth, parent, again) in enumerate(rows):
        x, y = _MARGIN + depth * _INDENT, _MARGIN + number * _ROW + _ROW // 2
        if parent >= 0:
            elbow = x - _INDENT + 5
            top = _MARGIN + parent * _ROW + _ROW // 2 + 5
            parts.append(f'<path d="M{elbow} {top}V{y}H{x}" fill="none" stroke="#a0aec0"/>')
        colour = _COLOURS.get(ref.partition(":")[0], "#4a5568")
        parts.append(f'<circle cx="{x + 5}" cy="{y}" r="5" fill="{colour}"/>')
        text = escape(ref) + (" (shown above)" if again else "")
        parts.append(f'<text x="{x + 16}" y="{y + 4}" fill="{colour}">{text}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _rows(tree: Tree, depth: int, parent: int) -> Iterator[tuple[str, int, int, bool]]:
    """Ref, depth, the row of what it hangs from, and whether it was shown before; the root's parent is row -1."""
    waiting, row = [(tree, depth, parent)], 0
    while waiting:
        at, deep, above = waiting.pop()
        yield at.ref, deep, above, at.again
        waiting += [(branch, deep + 1, row) for branch in reversed(at.branches)]
        row += 1


def _rendered(tree: Tree) -> Drawn:
    root = Drawn(_name(tree))
    waiting = [(root, tree)]
    while waiting:
        node, at = waiting.pop()
        waiting += [(node.add(_name(branch)), branch) for branch in at.branches]
    return root


def _name(tree: Tree) -> Text:
    return Text(f"{tree.ref} (shown above)" if tree.again else tree.ref)


def _document(tree: Tree) -> dict[str, Any]:
    return {"ref": tree.ref, "again": tree.again, "branches": [_document(branch) for branch in tree.branches]}
