"""How PostgreSQL keeps passwords."""

import base64
import hashlib
import hmac
import secrets


def scram_verifier(password: str, rounds: int = 1) -> str:
    """What PostgreSQL keeps of a password (RFC 5803), and takes in place of one."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    client, server = (hmac.digest(salted, name, "sha256") for name in (b"Client Key", b"Server Key"))
    stored = hashlib.sha256(client).digest()
    salt_text, stored_text, server_text = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${rounds}:{salt_text}${stored_text}:{server_text}"
