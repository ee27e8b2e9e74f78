"""What the site tells its people: news."""

from backend.notices.news import News, read_news

__all__ = ["News", "read_news"]
