"""Run by alembic inside `store.migrations.upgrade`, on its connection and in its transaction."""

from __future__ import annotations

from alembic import context

from store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
