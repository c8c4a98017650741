"""Which certificates count for a host: the system's, one given, and those in docker's certs.d folders."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

from servegen.errors import RegistryError


def context_for(netloc: str, ca_file: Path | None, folders: tuple[Path, ...]) -> ssl.SSLContext:
    """TLS settings for `netloc`; RegistryError for a certificate file that cannot be used.

    OpenSSL itself honours SSL_CERT_FILE and SSL_CERT_DIR. In a folder of `netloc`, `*.crt` are CAs and
    `*.cert` with the `*.key` beside it is what a client shows (docker's certs.d, containers-certs.d(5)).
    """
    context = ssl.create_default_context()
    if ca_file:
        _trust(context, ca_file, "--registry-ca takes the CA's certificate as PEM")
    for file in _files(netloc, folders, "*.crt"):
        _trust(context, file, "docker wants the CA's certificate as PEM there")
    for file in _files(netloc, folders, "*.cert"):
        key = file.with_suffix(".key")
        try:
            context.load_cert_chain(file, key)
        except (OSError, ssl.SSLError) as exc:
            msg = f"{file} and {key.name} are no client certificate with its key"
            raise RegistryError(msg, hint="both as PEM; the name of a CA's certificate ends in .crt") from exc
    return context


def has_own_ca(netloc: str, folders: tuple[Path, ...]) -> bool:
    """Whether a certs.d folder holds a CA for `netloc`, so that it speaks TLS."""
    return any(_files(netloc, folders, "*.crt"))


def _files(netloc: str, folders: tuple[Path, ...], pattern: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((folder / netloc).glob(pattern))


def _trust(context: ssl.SSLContext, file: Path, hint: str) -> None:
    try:
        context.load_verify_locations(file)
    except (OSError, ssl.SSLError) as exc:
        msg = f"{file} holds no certificate in PEM form"
        raise RegistryError(msg, hint=hint) from exc
