"""A scheduled report all the way: from the warehouse through a real SMTP server into a table that opens."""

from __future__ import annotations

import io
import socket
from pathlib import Path

import openpyxl
from aiosmtpd.controller import Controller

from backend.accounting.reports import ReportRunner, ScheduleDraft
from backend.notices import Mailer
from tests.unit.reports_kit import Desk
from tests.unit.test_mail import Inbox


def test_a_report_arrives_as_a_spreadsheet_of_the_owners_scope(tmp_path: Path) -> None:
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    inbox = Inbox()
    controller = Controller(inbox, hostname="localhost", port=port)
    controller.start()
    try:
        desk = Desk(tmp_path, MAIL__HOST="localhost", MAIL__PORT=str(port))
        report = desk.sent_at(ScheduleDraft("day", 6, "xlsx", "mail"))
        desk.clock.forward(86400)
        runner = ReportRunner(desk.reports, desk.identity, Mailer(desk.settings.mail), clock=desk.clock)
        assert (runner.look(), runner.look()) == (1, 0)
    finally:
        controller.stop()
    (mail,) = inbox.mails
    assert (inbox.recipients, mail["Subject"]) == ([["ada@example.org"]], "Carme: Usage of the month")
    attached = next(iter(mail.iter_attachments()))
    page = openpyxl.load_workbook(io.BytesIO(attached.get_content()))["Data"]
    assert [[cell.value for cell in row] for row in page.iter_rows()] == [
        ["user", "cpu_hours"], ["ada", 6], ["eve", 6], ["leo", 10],
    ]  # fmt: skip
    assert desk.schedule(report).error == ""
