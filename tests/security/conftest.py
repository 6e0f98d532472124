"""Fixtures of features whose attacks are here."""

from tests.auth.conftest import cheap_passwords
from tests.oauth.conftest import impatient, light, place, provider, serve, service
from tests.saas.conftest import postgres_schema

__all__ = ["cheap_passwords", "impatient", "light", "place", "postgres_schema", "provider", "serve", "service"]
