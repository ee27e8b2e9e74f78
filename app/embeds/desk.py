"""Drawn figures, shared by all who look: one computation for each generation of the accounts, one drawing a look."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TypeVar

from app.embeds.drawing import EmbedLook, drawn
from backend.accounting.embeds import Embed, Figures, Flights
from backend.accounting.usage import PROJECT
from backend.accounting.usage.money.costs import COST
from backend.accounting.warehouse import WarehouseUnusable
from backend.services import Services

log = logging.getLogger("carme.web")

MOST_FIGURES = 200
MOST_FIGURES_BYTES = 128 << 20
MOST_DRAWN = 500
MOST_DRAWN_BYTES = 64 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class Drawn:
    body: bytes  # JSON
    etag: str


class EmbedDesk:
    """Of one web process. Its coroutines never block the event loop."""

    def __init__(self, services: Services, executor: Executor, asking: Executor) -> None:
        """`executor`: for short looks at the database; `asking`: for figures."""
        self._services = services
        self._executor = executor
        self._asking = asking
        self.figures: Flights[Figures] = Flights(MOST_FIGURES, MOST_FIGURES_BYTES, _size)
        self._drawn: Flights[Drawn] = Flights(MOST_DRAWN, MOST_DRAWN_BYTES, lambda drawn: len(drawn.body))

    async def admit(self, token: str) -> Embed:
        """Raises NoSuchEmbed, EmbedGone."""
        embeds = self._services.embeds
        known = embeds.known(token)
        return known if known is not None else await self._run(self._executor, lambda: self._admit(token))

    def _admit(self, token: str) -> Embed:
        embed = self._services.embeds.admit(token)
        try:
            self._services.warehouse.refresh()  # nobody may have a page open that would do so
        except WarehouseUnusable as error:
            log.warning("the accounts can't be read anew, embeds show what is known: %s", error)
        return embed

    async def drawn(self, embed: Embed, look: EmbedLook) -> Drawn:
        """The figure in this look. Raises what the usage engine raises."""
        embeds = self._services.embeds
        question = embeds.question(embed)
        # A snapshot never changes; a live one does with the accounts and, where its window moves, with the time.
        # What usage costs follows the price list, too, and what is asked by project the list of projects.
        usage = self._services.usage
        generation = self._services.warehouse.generation if embed.live else -1
        prices = projects = 0
        if question is not None and COST in question.metrics:
            prices = await self._run(self._executor, lambda: usage.prices.current().version)
        if question is not None and question.about(PROJECT):
            projects = await self._run(self._executor, lambda: usage.projects.current().version)
        key = (embed.id, generation, question, prices, projects)

        async def compute() -> Figures:
            return await self._run(self._asking, lambda: embeds.figures(embed, question))

        async def draw() -> Drawn:
            figures = await self.figures.get(key, compute)
            body = await self._run(self._asking, lambda: drawn(embed, figures, look))
            return Drawn(body, f'W/"{hashlib.sha256(body).hexdigest()[:32]}"')

        return await self._drawn.get((key, look), draw)

    async def _run(self, executor: Executor, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, function)


def _size(figures: Figures) -> int:
    return int(figures.answer.table.nbytes)
