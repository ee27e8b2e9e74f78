"""Mail by SMTP: plain text and escaped HTML of the same words, attachments, no header from outside."""

from __future__ import annotations

import contextlib
import html
import re
import smtplib
import ssl
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid

from config import Mail as MailSettings

TIMEOUT_S = 30.0
MOST_RECIPIENTS = 20
LONGEST_ADDRESS = 254  # RFC 5321, 4.5.3.1.3
MOST_ATTACHED_BYTES = 15 << 20  # what most servers take, once it is base64
ADDRESS = re.compile(r"(?a)[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
LINK = re.compile(r"https?://[^\s<>\"']+")


class MailError(Exception):
    """A mail was not sent; the message says why. `for_good`: trying again changes nothing."""

    def __init__(self, message: str, *, for_good: bool = False) -> None:
        super().__init__(message)
        self.for_good = for_good


class BadMail(MailError):
    """An address or subject that no mail can have."""

    def __init__(self, message: str) -> None:
        super().__init__(message, for_good=True)


class NotSureSent(MailError):
    """The server was given the mail and did not say what became of it."""


@dataclass(frozen=True)
class Attachment:
    name: str
    media_type: str  # "text/csv"
    content: bytes


class Mailer:
    """Thread-safe and blocking; a connection for each mail."""

    def __init__(self, settings: MailSettings, trusted: ssl.SSLContext | None = None) -> None:
        """`trusted`: whose certificates count; by default the system's."""
        self._settings = settings
        self._trusted = trusted

    @property
    def able(self) -> bool:
        """Whether the site has a mail server."""
        return bool(self._settings.host)

    def send(self, to: Iterable[str], subject: str, text: str, attachments: Iterable[Attachment] = ()) -> None:
        """Send one mail to all of `to`. Raises BadMail, MailError when it was not sent, NotSureSent."""
        if not self.able:
            raise MailError("There is no mail server here (mail.host).", for_good=True)
        recipients = tuple(dict.fromkeys(checked_address(each) for each in to))
        if not 1 <= len(recipients) <= MOST_RECIPIENTS:
            raise BadMail(f"A mail needs 1 to {MOST_RECIPIENTS} addresses.")
        message = self._message(recipients, subject, text, tuple(attachments))
        server = self._connected()
        try:
            self._hand_over(server, message, recipients)
        finally:
            # What became of the mail is known by now: how the server says goodbye changes nothing.
            with contextlib.suppress(OSError, smtplib.SMTPException):
                server.quit()
            server.close()

    def _message(
        self, to: tuple[str, ...], subject: str, text: str, attachments: tuple[Attachment, ...]
    ) -> EmailMessage:
        sender = self.sender()
        message = EmailMessage(policy=SMTP)
        message["From"] = Address(addr_spec=sender)
        message["To"] = [Address(addr_spec=each) for each in to]
        message["Subject"] = checked_subject(subject)
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=sender.partition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday answers
        message.set_content(text)
        message.add_alternative(as_html(text), subtype="html")
        for each in attachments:
            main, _, sub = each.media_type.partition(";")[0].partition("/")
            parameters = {"charset": "utf-8"} if "charset=utf-8" in each.media_type else {}
            message.add_attachment(each.content, maintype=main, subtype=sub, filename=each.name, params=parameters)
        return message

    def sender(self) -> str:
        """Who mails are from. Raises BadMail."""
        return checked_address(self._settings.sender)

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        context = self._trusted or ssl.create_default_context()
        try:
            if settings.tls == "tls":
                server: smtplib.SMTP = smtplib.SMTP_SSL(
                    settings.host, settings.port, timeout=TIMEOUT_S, context=context
                )
            else:
                server = smtplib.SMTP(settings.host, settings.port, timeout=TIMEOUT_S)
        except (OSError, smtplib.SMTPException) as error:
            raise MailError(f"The mail server {settings.host}:{settings.port} can't be reached: {error}") from error
        try:
            if settings.tls == "starttls":
                server.starttls(context=context)
            if settings.user:
                if settings.tls == "none":
                    raise MailError("mail.user needs mail.tls: a password is not sent in the clear.", for_good=True)
                server.login(settings.user, settings.password)
        except (OSError, smtplib.SMTPException) as error:
            server.close()
            raise MailError(f"The mail server {settings.host} did not let the console in: {_said(error)}") from error
        except MailError:
            server.close()
            raise
        return server

    def _hand_over(self, server: smtplib.SMTP, message: EmailMessage, to: tuple[str, ...]) -> None:
        try:
            refused = server.send_message(message, from_addr=self.sender(), to_addrs=list(to))
        except smtplib.SMTPServerDisconnected as error:
            raise NotSureSent(f"The mail server went away while it took the mail: {error}") from error
        except smtplib.SMTPException as error:  # it said no, and why
            raise MailError(f"The mail server refused the mail: {_said(error)}") from error
        except OSError as error:
            raise NotSureSent(f"The connection broke while the mail was handed over: {error}") from error
        if refused:
            names = ", ".join(sorted(refused))
            raise MailError(f"The mail went out, but not to {names}: the server refused the address.", for_good=True)


def checked_address(text: str) -> str:
    """A plain address, without a name. Raises BadMail: also for one that would add a header."""
    if len(text) > LONGEST_ADDRESS or not ADDRESS.fullmatch(text) or ".." in text or ".@" in text:
        raise BadMail(f"{text[:80]!r} is no mail address.")
    return text


def checked_subject(text: str) -> str:
    """One line of at most 200 characters. Raises BadMail for one with line ends or other control characters."""
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise BadMail("A subject is one line.")
    return text[:200]


def as_html(text: str) -> str:
    """The text's lines as HTML; everything in it is text, but plain links can be followed."""
    lines = []
    for line in text.splitlines():
        escaped = html.escape(line)
        lines.append(LINK.sub(lambda link: f'<a href="{link[0]}">{link[0]}</a>', escaped))
    body = "<br>\n".join(lines)
    return f'<!DOCTYPE html>\n<html><body style="font-family: sans-serif">\n{body}\n</body></html>\n'


def _said(error: Exception) -> str:
    """What the server answered, without a password that may stand in the command."""
    if isinstance(error, smtplib.SMTPResponseException):
        answer = error.smtp_error
        words = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
        return f"{error.smtp_code} {words}"[:300]
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return "; ".join(f"{name}: {code} {_text(words)}" for name, (code, words) in error.recipients.items())[:300]
    return str(error)[:300]


def _text(words: bytes | str) -> str:
    return words.decode("utf-8", "replace") if isinstance(words, bytes) else words
