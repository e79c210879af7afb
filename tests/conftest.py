"""Fixtures that every folder of tests may use."""

from tests.databases import db, db_url, empty_url, migrated_templates, pg_db, postgres

__all__ = ["db", "db_url", "empty_url", "migrated_templates", "pg_db", "postgres"]
