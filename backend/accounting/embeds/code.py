"""What a maker copies into another site's page."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from backend.accounting.embeds.facts import EmbedInfo


@dataclass(frozen=True)
class Code:
    url: str  # of the frame's page
    script: str  # one script tag, which makes a frame as high as what it shows
    iframe: str  # for pages that take no scripts; its height is fixed


def code_of(public_url: str, info: EmbedInfo) -> Code | None:
    """The embed's code; None for whom its token is not told, or when it is over."""
    if info.token is None:
        return None
    console = public_url.rstrip("/")
    url, title = f"{console}/embed/{info.token}", escape(info.title, quote=True)
    return Code(
        url=url,
        script=f'<script src="{console}/embed.js" data-carme-embed="{info.token}" data-title="{title}" async></script>',
        iframe=f'<iframe src="{url}" title="{title}" width="100%" height="480" style="border:0" loading="lazy" '
        'referrerpolicy="no-referrer" sandbox="allow-scripts allow-same-origin"></iframe>',
    )
