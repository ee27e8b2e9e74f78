"""Secrets at rest: encrypted with a key that stands outside the database, and digests of what browsers
hold."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac as _hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backend.starting import CantStart
from config import SettingsError, read_secret_file

KEY_BYTES = 32
NONCE_BYTES = 12
FORMAT = b"\x01"
KEY_FILE = "secret.key"


class KeyUnusable(CantStart):
    """The key file or key is missing, open to others, or no key."""


class NotDecrypted(Exception):
    """What was stored was encrypted with another key, for another purpose, or was changed."""


class SecretBox:
    """Encrypts and signs with one instance's key.

    The key is `key` (base64 of 32 bytes), else the content of `key_file`, else that of `secret.key` in
    `data_dir`, which is made at the first start (mode 0600). Raises KeyUnusable.
    """

    def __init__(self, data_dir: Path | str, key: str = "", key_file: Path | None = None) -> None:
        if key:
            self._key = _decode(key, "the key in the environment")
        elif key_file is not None:
            self._key = _read(key_file)
        else:
            self._key = _own_key(Path(data_dir) / KEY_FILE)
        self._box = AESGCM(self.derive("encrypt"))

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose; those of different purposes tell nothing of one another."""
        return _hmac.new(self._key, b"carme:" + purpose.encode(), hashlib.sha256).digest()

    def encrypt(self, data: bytes, *, purpose: str = "") -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return FORMAT + nonce + self._box.encrypt(nonce, data, purpose.encode())

    def decrypt(self, blob: bytes, *, purpose: str = "") -> bytes:
        """What `encrypt` was given, for the same purpose. Raises NotDecrypted."""
        if blob[:1] != FORMAT:
            raise NotDecrypted("not a secret of this console")
        nonce, body = blob[1 : 1 + NONCE_BYTES], blob[1 + NONCE_BYTES :]
        try:
            return self._box.decrypt(nonce, body, purpose.encode())
        except (InvalidTag, ValueError) as error:
            raise NotDecrypted("the secret was stored with another key, or changed") from error

    def hmac(self, purpose: str, text: str) -> str:
        """A signature of `text` in hex (64 characters)."""
        return _hmac.new(self.derive("hmac:" + purpose), text.encode(), hashlib.sha256).hexdigest()


def new_token() -> str:
    """256 random bits, as they may stand in a cookie or a URL."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """What is stored of a token: SHA-256 in hex. (A token has 256 random bits: it needs no salt and no
    stretching.)"""
    return hashlib.sha256(token.encode()).hexdigest()


def same(left: str, right: str) -> bool:
    """Equality in constant time, for texts of any characters."""
    return _hmac.compare_digest(left.encode(), right.encode())


def _decode(text: str, source: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyUnusable(f"{source} is not base64") from error
    if len(key) != KEY_BYTES:
        raise KeyUnusable(f"{source} has {len(key)} bytes, not {KEY_BYTES}")
    return key


def _read(path: Path) -> bytes:
    try:
        return _decode(read_secret_file(path, str(path.parent), path.name), str(path))
    except SettingsError as error:
        raise KeyUnusable(str(error)) from error


def _own_key(path: Path) -> bytes:
    """The key in `path`; made there first if there is none. Of several processes at once, one makes it."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)  # fails when another process was first: then its key is taken
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return _read(path)
