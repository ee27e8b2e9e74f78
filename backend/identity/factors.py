"""Second factors: time-based one-time codes (RFC 6238) and recovery codes."""

from __future__ import annotations

import base64
import io
import re
import secrets
import time
from collections.abc import Callable

import pyotp
import segno
from sqlalchemy import delete, func, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.orm import Session as DbSession

from backend.identity.viewer import Enrolment, FactorInfo
from backend.store import SecretBox, same
from backend.store.models import Factor, RecoveryCode

STEP_S = 30
DRIFT = 1  # steps a phone's clock may be off
SECRET_CHARACTERS = 32  # 160 bits, as RFC 4226 recommends
RECOVERY_CODES = 10
RECOVERY_BYTES = 10  # 80 bits: 16 characters of base32
PURPOSE = "totp"


class Factors:
    """All within the caller's transaction."""

    def __init__(self, box: SecretBox, issuer: str, clock: Callable[[], float] = time.time) -> None:
        self._box = box
        self._issuer = issuer
        self._clock = clock

    def has(self, rows: DbSession, person: str) -> bool:
        return rows.get(Factor, person) is not None

    def info(self, rows: DbSession, person: str) -> FactorInfo | None:
        factor = rows.get(Factor, person)
        if factor is None:
            return None
        left = rows.scalar(
            select(func.count())
            .select_from(RecoveryCode)
            .where(RecoveryCode.person == person, RecoveryCode.used_s.is_(None))
        )
        return FactorInfo(factor.confirmed_s, left or 0)

    def new_secret(self) -> str:
        return pyotp.random_base32(SECRET_CHARACTERS)

    def seal(self, person: str, secret: str) -> bytes:
        return self._box.encrypt(secret.encode(), purpose=f"{PURPOSE}:{person}")

    def unseal(self, person: str, sealed: bytes) -> str:
        return self._box.decrypt(sealed, purpose=f"{PURPOSE}:{person}").decode()

    def enrolment(self, person: str, secret: str) -> Enrolment:
        uri = pyotp.TOTP(secret).provisioning_uri(name=person, issuer_name=self._issuer)
        picture = io.BytesIO()
        segno.make(uri, error="m").save(
            picture, kind="svg", scale=5, border=4, xmldecl=False, svgns=True, omitsize=True,
            dark="#000", light="#fff", title="QR code for your authenticator app",
        )  # fmt: skip
        groups = " ".join(re.findall("....", secret))
        return Enrolment(uri, groups, picture.getvalue().decode().strip())

    def matching_step(self, secret: str, code: str, after: int) -> int | None:
        """The time step whose code this is: of now or a neighbour, and later than `after`."""
        digits = code.replace(" ", "")
        if not re.fullmatch(r"[0-9]{6}", digits):
            return None
        totp = pyotp.TOTP(secret)
        now_step = int(self._clock() // STEP_S)
        found = None
        for step in range(now_step - DRIFT, now_step + DRIFT + 1):  # all of them, whichever matches
            if same(totp.generate_otp(step), digits) and step > after and found is None:
                found = step
        return found

    def use_code(self, rows: DbSession, person: str, code: str) -> bool:
        """Whether this is a code of now that was not used before. Of several who try the same one, one wins:
        the step moves forward in the database, by a condition on what it was."""
        factor = rows.get(Factor, person)
        if factor is None:
            return False
        step = self.matching_step(self.unseal(person, factor.secret), code, factor.last_step)
        if step is None:
            return False
        moved = rows.execute(
            update(Factor).where(Factor.person == person, Factor.last_step < step).values(last_step=step)
        )
        return _count(moved) == 1

    def use_recovery_code(self, rows: DbSession, person: str, code: str) -> bool:
        used = rows.execute(
            update(RecoveryCode)
            .where(
                RecoveryCode.digest == self._recovery_digest(person, code),
                RecoveryCode.person == person,
                RecoveryCode.used_s.is_(None),
            )
            .values(used_s=int(self._clock()))
        )
        return _count(used) == 1

    def store(self, rows: DbSession, person: str, secret: str, last_step: int) -> None:
        """Make this the person's factor, in place of any other."""
        rows.execute(delete(Factor).where(Factor.person == person))
        rows.add(
            Factor(
                person=person,
                secret=self.seal(person, secret),
                last_step=last_step,
                confirmed_s=int(self._clock()),
            )
        )
        rows.flush()

    def remove(self, rows: DbSession, person: str) -> bool:
        removed = rows.execute(delete(Factor).where(Factor.person == person))
        rows.execute(delete(RecoveryCode).where(RecoveryCode.person == person))
        return _count(removed) > 0

    def new_recovery_codes(self, rows: DbSession, person: str) -> tuple[str, ...]:
        """Ten fresh codes in place of all others. They are shown once: only their digests are kept."""
        rows.execute(delete(RecoveryCode).where(RecoveryCode.person == person))
        codes = tuple(_recovery_code() for _ in range(RECOVERY_CODES))
        rows.add_all(
            RecoveryCode(digest=self._recovery_digest(person, code), person=person) for code in codes
        )
        return codes

    def _recovery_digest(self, person: str, code: str) -> str:
        # Keyed: a stolen database alone does not let anyone try codes against it.
        return self._box.hmac("recovery code", f"{person}\0{normalized(code)}")


def is_recovery_code(code: str) -> bool:
    return len(normalized(code)) == RECOVERY_BYTES * 8 // 5


def normalized(code: str) -> str:
    """As people type it: capitals, blanks and dashes make no difference."""
    return re.sub(r"[\s-]", "", code).upper()


def _recovery_code() -> str:
    text = base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode().lower()
    return "-".join(re.findall("....", text))


def _count(result: object) -> int:
    return result.rowcount if isinstance(result, CursorResult) else 0
