"""Run by Alembic: upgrades over the connection that app.db.session holds, inside its transaction."""

from alembic import context

from app.db.tables import Base

# SQLite can roll DDL back, Alembic only assumes that it cannot: a crash half-way must leave the old tables.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
