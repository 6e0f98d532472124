"""Certificates made for a test."""

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make_certificates(directory: Path) -> dict[str, Path]:
    """Two for this machine, of which one has signed the server's, and one for another host."""
    addresses = {"right": "127.0.0.1", "wrong": "127.0.0.1", "elsewhere": None}
    return {name: make_certificate(directory, name, addresses[name]) for name in addresses}


def make_certificate(directory: Path, name: str, address: str | None) -> Path:
    """A key and a certificate signed by itself, for one host."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    host = x509.IPAddress(ipaddress.ip_address(address)) if address else x509.DNSName("elsewhere.example")
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (directory / f"{name}.key").write_bytes(key.private_bytes(pem, form, plain))
    (directory / f"{name}.crt").write_bytes(certificate.public_bytes(pem))
    return directory / f"{name}.crt"
