"""Embeds: a saved report's figure in another site's page, by a signed token with a scope, an end and its sites."""

from backend.accounting.embeds.code import Code, code_of
from backend.accounting.embeds.errors import EmbedError, EmbedGone, EmbedRefused, NoSuchEmbed
from backend.accounting.embeds.facts import Embed, EmbedInfo, Figures, drawn_as
from backend.accounting.embeds.flights import Flights
from backend.accounting.embeds.service import Embeds

__all__ = [
    "Code",
    "Embed",
    "EmbedError",
    "EmbedGone",
    "EmbedInfo",
    "EmbedRefused",
    "Embeds",
    "Figures",
    "Flights",
    "NoSuchEmbed",
    "code_of",
    "drawn_as",
]
