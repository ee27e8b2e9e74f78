"""Why an embed is not made or not shown. The words are for the person who looks."""

from __future__ import annotations


class EmbedError(Exception):
    """Base of all."""


class NoSuchEmbed(EmbedError):
    """The token is none of ours, whatever the reason."""

    def __init__(self) -> None:
        super().__init__("There is nothing here.")


class EmbedGone(EmbedError):
    """It was one. `why` is for the log and the maker: expired, revoked, maker."""

    def __init__(self, why: str, origins: tuple[str, ...] = ()) -> None:
        super().__init__("This figure is no longer available.")
        self.why = why
        self.origins = origins  # where these words may be shown


class EmbedRefused(EmbedError):
    """It can't be made: the words say what to change."""
