"""What Alembic runs: the revisions, on the connection and in the transaction that `Database.create` opened."""

from alembic import context

from peft_registry.registry.database.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,  # on SQLite too: the transaction is ours, not the driver's
)
with context.begin_transaction():
    context.run_migrations()
