"""Fixtures of features whose attacks are here."""

from tests.oauth.conftest import impatient, light, place, provider, serve, service
from tests.saas.conftest import postgres_schema

__all__ = ["impatient", "light", "place", "postgres_schema", "provider", "serve", "service"]
