"""Signing in by way of another service: Google, GitHub, and every OpenID provider.

config = ServiceConfig(
    public_url="https://api.example.com",
    oauth_redirect_urls=["https://app.example.com/signed-in"],
    oauth_providers={
        "google": {"client_id": ..., "client_secret": ...},
        "work": {"issuer": "https://login.example.com", "client_id": ..., "client_secret": ...},
    },
)

A browser that opens /auth/oauth/google comes back to the page with a one-time code, which the page exchanges at
POST /auth/oauth/exchange for what POST /auth/login answers.
"""

from app_kernel.oauth.feature import create_feature

__all__ = ["create_feature"]
