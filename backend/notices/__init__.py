"""What the site tells its people: news, and mail."""

from backend.notices.mail import Attachment, BadMail, Mailer, MailError, NotSureSent, checked_address
from backend.notices.news import News, read_news

__all__ = [
    "Attachment",
    "BadMail",
    "MailError",
    "Mailer",
    "News",
    "NotSureSent",
    "checked_address",
    "read_news",
]
