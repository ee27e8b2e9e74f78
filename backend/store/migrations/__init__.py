"""Alembic's steps from one release's tables to the next."""
