"""Run migrations on the connection that `bulkreset.store.migrate` hands over."""

from alembic import context

from bulkreset.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    # SQLite alters a table by copying it
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
