"""Each way sign-in and its changes fail, by name. Messages are for the person."""

from __future__ import annotations


class IdentityError(Exception):
    """What the console answers instead of doing it."""


class SignInRefused(IdentityError):
    """Wrong user, wrong password, locked: the same words for all, on purpose."""

    def __init__(self, message: str = "The name or the password is wrong, or the account is locked.") -> None:
        super().__init__(message)


class NotAllowedHere(SignInRefused):
    """The right password of a person who may not use this console."""

    def __init__(self) -> None:
        super().__init__("Your password is right, but your account may not use this console. Ask its admins.")


class Throttled(IdentityError):
    """Too many failures: nothing was looked at. `retry_s` is how long to wait."""

    def __init__(self, retry_s: float) -> None:
        self.retry_s = max(1, round(retry_s))
        super().__init__(f"Too many failed tries. Try again in {_words(self.retry_s)}.")


class PasswordExpired(IdentityError):
    """The password was right, and has expired. `can_change`: it can be changed here."""

    def __init__(self, *, can_change: bool) -> None:
        self.can_change = can_change
        end = "Choose a new one." if can_change else "Ask your admins for a new one."
        super().__init__(f"Your password has expired. {end}")


class DirectoryDown(IdentityError):
    """No directory server answers as it should. `since_s`: since when; `why`: for the log, never for the
    person."""

    def __init__(self, since_s: float, why: str) -> None:
        self.since_s = since_s
        self.why = why
        super().__init__("The directory can't be reached at the moment; your password was not checked.")


class CodeRefused(IdentityError):
    """Wrong, reused, too old: the same words for all, on purpose."""

    def __init__(self) -> None:
        super().__init__("That code is not valid. Wait for the next one and try again.")


class TooManyTries(IdentityError):
    """The second step failed too often: sign in from the start."""

    def __init__(self) -> None:
        super().__init__("Too many wrong codes. Sign in again with your password.")


class NotSignedIn(IdentityError):
    """The cookie stands for no login, or not for one at this stage."""

    def __init__(self) -> None:
        super().__init__("You are not signed in any more. Sign in again.")


class NotFresh(IdentityError):
    """This change needs a sign-in that is not long ago."""

    def __init__(self) -> None:
        super().__init__("For this, show your password and code once more.")


class EnrolmentCodeRefused(IdentityError):
    """The admin's code for a first enrolment is wrong, used or too old."""

    def __init__(self) -> None:
        super().__init__("That enrolment code is not valid. Ask an admin for a new one.")


class NoEnrolment(IdentityError):
    """There is nothing to confirm, or a second factor can't be set up now."""


class PasswordRefused(IdentityError):
    """The new password was not taken; the message is the policy's own."""


class SetupRefused(IdentityError):
    """The set-up link is wrong, used or too old, or there is an account already."""

    def __init__(self) -> None:
        super().__init__("This set-up link is not valid any more.")


class NoSuchPerson(IdentityError):
    """Nobody of that name is known to the console."""


class PersonRefused(IdentityError):
    """An account can't be made or changed like that; the message says why."""


class NotAllowed(IdentityError):
    """The viewer may not do this."""

    def __init__(self) -> None:
        super().__init__("You may not do this.")


def _words(seconds: int) -> str:
    if seconds < 90:
        return f"{seconds} seconds"
    return f"{-(-seconds // 60)} minutes"
