"""Mail against a real SMTP server: what arrives is what was said, and nobody adds a header."""

from __future__ import annotations

import email
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from backend.notices import Attachment, BadMail, Mailer, MailError, NotSureSent, checked_address
from backend.notices.mail import as_html
from config import Mail


@dataclass
class Inbox:
    """Takes every mail; `answer` is what it says to the next."""

    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    answer: str = "250 OK"
    refuse: str = ""
    goodbye: str = "221 Bye"
    raw: bytes = b""

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address == self.refuse:
            return "550 nobody of that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:
        if self.goodbye == "hang up":
            server.transport.abort()
        return self.goodbye

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.answer == "hang up":
            server.transport.abort()
            return ""
        self.raw = envelope.content
        if self.answer.startswith("250"):
            self.mails.append(email.message_from_bytes(envelope.content, policy=default))  # type: ignore[arg-type]
            self.recipients.append(list(envelope.rcpt_tos))
        return self.answer


def settings(port: int, **more: Any) -> Mail:
    given: dict[str, Any] = {"tls": "none", "user": "", "password": "", **more}
    return Mail(host="localhost", port=port, password_file=None, sender="console@example.org", **given)


Serve = Callable[..., tuple[Inbox, int]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server with the given options of aiosmtpd."""
    running: list[Controller] = []

    def start(**options: Any) -> tuple[Inbox, int]:
        inbox = Inbox()
        with socket.create_server(("localhost", 0)) as free:
            port: int = free.getsockname()[1]
        controller = Controller(inbox, hostname="localhost", port=port, **options)
        controller.start()
        running.append(controller)
        return inbox, port

    yield start
    for controller in running:
        controller.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost with its key, of its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    plain = serialization.NoEncryption()
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return file


def served_by(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


def test_a_mail_arrives_with_its_text_and_its_attachment(serve: Serve) -> None:
    inbox, port = serve()
    file = Attachment("usage-2026-10.csv", "text/csv; charset=utf-8", "user,café\n".encode())
    Mailer(settings(port)).send(["ada@example.org", "bob@example.org"], "Usage of Größe", "Hello <b>Ada</b>", [file])
    mail = inbox.mails[0]
    assert inbox.recipients == [["ada@example.org", "bob@example.org"]]
    assert (mail["Subject"], mail["From"]) == ("Usage of Größe", "console@example.org")
    body = mail.get_body(("plain",))
    assert body is not None
    assert body.get_content().strip() == "Hello <b>Ada</b>"
    attached = next(iter(mail.iter_attachments()))
    assert (attached.get_filename(), attached.get_content()) == ("usage-2026-10.csv", "user,café\n")


def test_html_is_the_same_words_escaped(serve: Serve) -> None:
    inbox, port = serve()
    Mailer(settings(port)).send(["ada@example.org"], "x", '<img src=x onerror="alert(1)">\nhttps://c.example/r?a=1&b=2')
    page = inbox.mails[0].get_body(("html",))
    assert page is not None
    said = page.get_content()
    assert "<img" not in said
    assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;" in said
    assert '<a href="https://c.example/r?a=1&amp;b=2">' in said


@given(st.text())
def test_text_makes_no_markup(text: str) -> None:
    body = as_html(text).split("\n", 2)[2].rsplit("\n</body>", 1)[0]
    without_links = body.replace("<br>", "").replace("</a>", "")
    assert "<" not in "".join(without_links.split('<a href="'))


@pytest.mark.parametrize(
    "address",
    [
        "ada@example.org\nBcc: eve@example.org", "ada@example.org\r\nX: y", "ada", "@example.org", "a b@example.org",
        "ada@example.org,eve@example.org", "<ada@example.org>", "ada@-example.org", "ada@example.org\0", "",
        "a..b@example.org", "ada.@example.org", "x" * 65 + "@example.org", "ada@" + "x" * 300,
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(address: str, serve: Serve) -> None:
    inbox, port = serve()
    with pytest.raises(BadMail):
        Mailer(settings(port)).send([address], "x", "x")
    assert inbox.mails == []


@given(st.text())
def test_whatever_passes_for_an_address_is_one_line_without_separators(text: str) -> None:
    try:
        address = checked_address(text + "@example.org")
    except BadMail:
        return
    assert not set(address) & set('\r\n\0 ,;<>()"\\:')


@pytest.mark.parametrize("subject", ["a\nBcc: eve@example.org", "a\r\nb", "a\u2028b", "a\0b"])
def test_a_subject_of_two_lines_is_refused(subject: str, serve: Serve) -> None:
    inbox, port = serve()
    with pytest.raises(BadMail):
        Mailer(settings(port)).send(["ada@example.org"], subject, "x")
    assert inbox.mails == []


def test_a_line_of_a_dot_does_not_end_the_mail(serve: Serve) -> None:
    inbox, port = serve()
    Mailer(settings(port)).send(["ada@example.org"], "x", "before\n.\nafter")
    body = inbox.mails[0].get_body(("plain",))
    assert body is not None
    assert body.get_content().splitlines() == ["before", ".", "after"]


def test_a_refusal_is_told_in_the_servers_words(serve: Serve) -> None:
    inbox, port = serve()
    inbox.answer = "552 too large"
    with pytest.raises(MailError, match="552 too large"):
        Mailer(settings(port)).send(["ada@example.org"], "x", "x")


def test_an_address_the_server_refuses_is_named(serve: Serve) -> None:
    inbox, port = serve()
    inbox.refuse = "bob@example.org"
    with pytest.raises(MailError, match=r"not to bob@example\.org") as refusal:
        Mailer(settings(port)).send(["ada@example.org", "bob@example.org"], "x", "x")
    assert refusal.value.for_good
    assert len(inbox.mails) == 1


def test_a_server_that_goes_away_leaves_it_open_whether_it_was_sent(serve: Serve) -> None:
    inbox, port = serve()
    inbox.answer = "hang up"
    with pytest.raises(NotSureSent):
        Mailer(settings(port)).send(["ada@example.org"], "x", "x")


@pytest.mark.parametrize("goodbye", ["421 closing", "500 what", "hang up"])
def test_a_server_that_ends_rudely_after_it_took_the_mail_has_taken_it(serve: Serve, goodbye: str) -> None:
    inbox, port = serve()
    inbox.goodbye = goodbye
    Mailer(settings(port)).send(["ada@example.org"], "x", "x")
    assert len(inbox.mails) == 1


def test_a_refusal_is_told_though_the_server_ends_rudely(serve: Serve) -> None:
    inbox, port = serve()
    inbox.answer, inbox.goodbye = "554 no", "421 closing"
    with pytest.raises(MailError, match="554 no"):
        Mailer(settings(port)).send(["ada@example.org"], "x", "x")


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(MailError, match="can't be reached"):
        Mailer(settings(1)).send(["ada@example.org"], "x", "x")


def test_without_a_server_there_is_no_mail() -> None:
    mailer = Mailer(Mail("", 25, "none", "", None, "", ""))
    assert not mailer.able
    with pytest.raises(MailError, match=r"mail\.host"):
        mailer.send(["ada@example.org"], "x", "x")


def test_starttls_and_a_password(serve: Serve, certificate: Path) -> None:
    seen: list[bytes] = []

    def check(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        seen.append(data.password)
        return AuthResult(success=data.password == b"secret", handled=False)

    inbox, port = serve(
        tls_context=served_by(certificate),
        require_starttls=True,
        authenticator=check,
        auth_required=True,
        auth_exclude_mechanism=["LOGIN"],
    )
    good = settings(port, tls="starttls", user="console", password="secret")
    Mailer(good, trusting(certificate)).send(["ada@example.org"], "x", "x")
    assert len(inbox.mails) == 1
    bad = settings(port, tls="starttls", user="console", password="wrong-word")
    with pytest.raises(MailError, match="did not let the console in") as refusal:
        Mailer(bad, trusting(certificate)).send(["ada@example.org"], "x", "x")
    assert "wrong-word" not in str(refusal.value)


def test_tls_from_the_first_byte(serve: Serve, certificate: Path) -> None:
    inbox, port = serve(ssl_context=served_by(certificate))
    Mailer(settings(port, tls="tls"), trusting(certificate)).send(["ada@example.org"], "x", "x")
    assert len(inbox.mails) == 1


@pytest.mark.parametrize(("tls", "option"), [("starttls", "tls_context"), ("tls", "ssl_context")])
def test_a_certificate_nobody_vouches_for_is_refused(tls: str, option: str, serve: Serve, certificate: Path) -> None:
    inbox, port = serve(**{option: served_by(certificate)})
    with pytest.raises(MailError, match="certificate"):
        Mailer(settings(port, tls=tls)).send(["ada@example.org"], "x", "x")
    assert inbox.mails == []


def test_a_server_without_starttls_gets_no_mail(serve: Serve) -> None:
    inbox, port = serve()
    with pytest.raises(MailError, match="STARTTLS"):
        Mailer(settings(port, tls="starttls")).send(["ada@example.org"], "x", "x")
    assert inbox.mails == []


def test_a_password_is_not_sent_in_the_clear(serve: Serve) -> None:
    inbox, port = serve()
    with pytest.raises(MailError, match="in the clear"):
        Mailer(settings(port, user="console", password="secret")).send(["ada@example.org"], "x", "x")
    assert inbox.mails == []
