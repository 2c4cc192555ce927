"""One migration per version of the store, as Alembic finds them."""
