"""TLS for both directions: version 1.2 or later, both sides show certificates (BCP 195; PS3.15 B.12)."""

from __future__ import annotations

import ssl

from recontour.errors import SettingsError
from recontour.node.config import Tls


def server_context(tls: Tls) -> ssl.SSLContext:
    """For those who come: who shows no certificate that `ca` signed is turned away. Raises SettingsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, tls)


def client_context(tls: Tls) -> ssl.SSLContext:
    """For those who are called. Raises SettingsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.check_names
    context.verify_mode = ssl.CERT_REQUIRED
    return _loaded(context, tls)


def _loaded(context: ssl.SSLContext, tls: Tls) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
        context.load_verify_locations(tls.ca)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "reason", None) or type(error).__name__
        allowed = "PEM files that the service may read, the key without a password"
        raise SettingsError(f"certificate, key or ca cannot be used: {reason}", where="tls", allowed=allowed) from error
    return context


def _no_password() -> str:
    """Nobody is there to type one: OpenSSL would ask at the terminal."""
    raise ValueError("the key has a password")
