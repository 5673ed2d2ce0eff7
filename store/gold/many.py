"""Looking up many texts at once, in either dialect."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class _Each(FunctionElement[str]):
    """The texts of a JSON array, as what stands right of IN: no statement to be made for their number."""

    name = "each"
    type = Text()
    inherit_cache = True


@compiles(_Each, "sqlite")
def _on_sqlite(element: _Each, compiler: SQLCompiler, **options: Any) -> str:
    (many,) = (compiler.process(clause, **options) for clause in element.clauses)
    return f"(SELECT value FROM json_each({many}))"


@compiles(_Each, "postgresql")
def _on_postgresql(element: _Each, compiler: SQLCompiler, **options: Any) -> str:
    (many,) = (compiler.process(clause, **options) for clause in element.clauses)
    return f"(SELECT json_array_elements_text(CAST({many} AS JSON)))"


def one_of(text: ColumnElement[str], many: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a text is one of many, which come as one JSON value.

    A comparison to SQLAlchemy: of any other boolean it would ask `= 1` in SQLite, which then uses no index.
    """
    return text.bool_op("IN")(_Each(many))
