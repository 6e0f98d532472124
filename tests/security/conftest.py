"""Fixtures of features whose attacks are here."""

from tests.auth.conftest import cheap_passwords
from tests.oauth.conftest import impatient, light, place, provider, serve, service

__all__ = ["cheap_passwords", "impatient", "light", "place", "provider", "serve", "service"]
