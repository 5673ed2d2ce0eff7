"""Looking up many texts at once, in either dialect."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class OneOf(FunctionElement[bool]):
    """Whether a text is one of many, which come as one JSON value: no statement to be made for their number."""

    name = "one_of"
    type = Boolean()
    inherit_cache = True


@compiles(OneOf, "sqlite")
def _on_sqlite(element: OneOf, compiler: SQLCompiler, **options: Any) -> str:
    text, many = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{text} IN (SELECT value FROM json_each({many}))"


@compiles(OneOf, "postgresql")
def _on_postgresql(element: OneOf, compiler: SQLCompiler, **options: Any) -> str:
    text, many = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{text} IN (SELECT json_array_elements_text(CAST({many} AS JSON)))"
