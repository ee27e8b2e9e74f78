"""The news as markup: Markdown with HTML switched off, made once for each change of the file."""

from __future__ import annotations

from functools import lru_cache

from markdown_it import MarkdownIt

from backend.notices.news import News

_MARKDOWN = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table").disable("image")
_SAFE_LINKS = ("https://", "http://", "mailto:", "/")


def _validate(url: str) -> bool:
    """Only links that a person can follow without running anything."""
    return url.strip().lower().startswith(_SAFE_LINKS)


_MARKDOWN.validateLink = _validate  # type: ignore[method-assign]


@lru_cache(maxsize=4)
def news_html(news: News) -> str:
    """The markup; "" when there is no news."""
    return _MARKDOWN.render(news.markdown) if news.markdown.strip() else ""
