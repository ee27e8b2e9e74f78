"""Embeds: made from a saved report, shown by their token alone, ended by their maker or an operator at once."""

from __future__ import annotations

import hashlib
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import func, select

from backend.accounting.embeds.errors import EmbedGone, EmbedRefused, NoSuchEmbed
from backend.accounting.embeds.facts import (
    Embed,
    EmbedInfo,
    Figures,
    drawn_as,
    scope_as_json,
    scope_from_json,
    within,
)
from backend.accounting.embeds.frozen import freeze, thaw
from backend.accounting.embeds.origins import BadOrigin
from backend.accounting.embeds.origins import origins as read_origins
from backend.accounting.embeds.token import id_of, is_token_of, new_id, token_of
from backend.accounting.reports import resolve, scope_for
from backend.accounting.rights import scope_of
from backend.accounting.usage import Answer, Question, Scope
from backend.identity import Identity, Viewer, policy
from backend.store import Database, SecretBox, audit
from backend.store.models import EmbedToken
from config import Embeds as EmbedSettings

MOST_ROWS = 2000  # of one figure: more is a file, not a picture
MOST_FROZEN_BYTES = 8 << 20
MOST_OF_ONE = 500  # of one person, that are not over
DAY_S = 86400
STEP_S = 60  # a window that moves with the time moves in such steps, or each viewer would ask a question of their own
KEEP_S = 1.0  # how old a look at the row and its maker may be; as with logins
MOST_KEPT = 1000

Ask = Callable[[Question, Scope], Answer]


class Embeds:
    """Blocking, used from any thread. `ask` is the usage engine's."""

    def __init__(
        self,
        settings: EmbedSettings,
        db: Database,
        box: SecretBox,
        identity: Identity,
        *,
        ask: Ask,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._db = db
        self._box = box
        self._identity = identity
        self._ask = ask
        self._clock = clock
        self._lock = threading.Lock()
        self._looks = 0  # grows when something was ended: what was read before doesn't count
        self._kept: dict[str, tuple[float, Embed]] = {}  # by token: when it was read (monotonic), what it said

    def now_s(self) -> float:
        """By the clock that ends them."""
        return self._clock()

    # Making, listing, ending

    def make(
        self,
        viewer: Viewer,
        *,
        title: str,
        question: Mapping[str, Any],
        chart: str,
        origins: Iterable[str],
        live: bool,
        days: int | None = None,
        report_id: str = "",
        address: str = "",
    ) -> EmbedInfo:
        """A new embed of what the viewer may see now. `question` and `chart` as a saved report has them.

        Raises EmbedRefused, and BadQuestion as the engine does.
        """
        if not self._settings.enabled:
            raise EmbedRefused("Embeds are switched off here (embeds.enabled).")
        longest = self._settings.max_days
        if days is not None and not 1 <= days <= longest:
            raise EmbedRefused(f"It can hold from 1 to {longest} days.")
        try:
            sites = read_origins(origins)
        except BadOrigin as error:
            raise EmbedRefused(str(error)) from error
        title = " ".join(title.split())[:200]
        if not title or any(unicodedata.category(each) in ("Cc", "Cs") for each in title):
            raise EmbedRefused("An embed needs a title, of characters that can be shown.")
        now = int(self._clock())
        scope = scope_for(question, viewer)
        asked = self._resolved(question)
        answer = self._compute(asked, scope).answer
        frozen = None if live else freeze(answer)
        if frozen is not None and len(frozen) > MOST_FROZEN_BYTES:
            raise EmbedRefused("The snapshot would be too large: choose a shorter window or fewer dimensions.")
        row = EmbedToken(
            id=new_id(),
            owner=viewer.name,
            report_id=report_id[:64],
            title=title,
            question=dict(question),
            chart=drawn_as(chart, asked),
            scope=scope_as_json(scope),
            origins=list(sites),
            frozen=frozen,
            frozen_digest=hashlib.sha256(frozen).hexdigest() if frozen is not None else "",
            created_s=now,
            expires_s=now + (days or longest) * DAY_S,
        )
        with self._db.begin() as rows:
            mine = select(func.count()).where(
                EmbedToken.owner == viewer.name, EmbedToken.revoked_s.is_(None), EmbedToken.expires_s > now
            )
            if (rows.scalar(mine) or 0) >= MOST_OF_ONE:
                raise EmbedRefused(f"You have {MOST_OF_ONE} embeds: revoke some first.")
            rows.add(row)
            audit(
                rows, viewer.name, "embed.make", row.id, "done", address,
                report=row.report_id, origins=row.origins, live=live, expires_s=row.expires_s,
            )  # fmt: skip
            return self._info(row, viewer)

    def listed(self, viewer: Viewer, *, everyones: bool = False) -> list[EmbedInfo]:
        """The viewer's, newest first; everyone's where that is asked for and the viewer may see them."""
        asked = select(EmbedToken).order_by(EmbedToken.created_s.desc(), EmbedToken.id)
        if not (everyones and policy.allowed(viewer, "embed.see")):
            asked = asked.where(EmbedToken.owner == viewer.name)
        with self._db.read() as rows:
            return [self._info(row, viewer) for row in rows.scalars(asked)]

    def revoke(self, viewer: Viewer, embed_id: str, address: str = "") -> EmbedInfo:
        """From now on nobody sees it. Raises NoSuchEmbed, also for one that is not the viewer's to end."""
        with self._db.begin() as rows:
            row = rows.get(EmbedToken, embed_id)
            if row is None or not policy.allowed(viewer, "embed.revoke", row):
                raise NoSuchEmbed
            if row.revoked_s is None:
                row.revoked_s, row.revoked_by = int(self._clock()), viewer.name
                row.frozen = None  # nobody will look at these figures again
                audit(rows, viewer.name, "embed.revoke", row.id, "done", address, owner=row.owner)
            info = self._info(row, viewer)
        self._forget()
        return info

    def _info(self, row: EmbedToken, viewer: Viewer) -> EmbedInfo:
        holds = row.revoked_s is None and row.expires_s > self._clock()
        return EmbedInfo(
            id=row.id,
            owner=row.owner,
            report_id=row.report_id,
            title=row.title,
            live=not row.frozen_digest,
            origins=tuple(row.origins),
            created_s=row.created_s,
            expires_s=row.expires_s,
            revoked_s=row.revoked_s,
            token=token_of(self._box, row) if holds and row.owner == viewer.name else None,
        )

    # Showing

    def admit(self, token: str) -> Embed:
        """What the token shows, if it is good and its maker may still see it. Raises NoSuchEmbed, EmbedGone.

        Answers are kept for a second and dropped when this process revokes one: a revocation reaches this process
        at once and all others within a second.
        """
        if known := self.known(token):
            return known
        looks = self._looks
        embed = self._read(token)
        with self._lock:
            if looks == self._looks:
                if len(self._kept) >= MOST_KEPT:
                    self._kept.clear()
                self._kept[token] = (time.monotonic(), embed)
        return embed

    def known(self, token: str) -> Embed | None:
        """The same where it was asked a moment ago, else None. Never blocks."""
        kept = self._kept.get(token)
        if kept is None or time.monotonic() - kept[0] > KEEP_S or kept[1].expires_s <= self._clock():
            return None
        return kept[1]

    def _read(self, token: str) -> Embed:
        embed_id = id_of(token)
        if embed_id is None or not self._settings.enabled:
            raise NoSuchEmbed
        with self._db.read() as rows:
            row = rows.get(EmbedToken, embed_id)
        if row is None or not is_token_of(self._box, row, token):
            raise NoSuchEmbed
        sites = tuple(row.origins)
        if row.revoked_s is not None:
            raise EmbedGone("revoked", sites)
        if row.expires_s <= self._clock():
            raise EmbedGone("expired", sites)
        scope = scope_from_json(row.scope)
        maker = self._identity.standing(row.owner)
        if maker is None or not within(scope, scope_of(maker)):
            raise EmbedGone("maker", sites)
        return Embed(
            id=row.id,
            title=row.title,
            chart=row.chart,
            saved=row.question,
            scope=scope,
            origins=sites,
            live=not row.frozen_digest,
            frozen_digest=row.frozen_digest,
            created_s=row.created_s,
            expires_s=row.expires_s,
        )

    def question(self, embed: Embed) -> Question | None:
        """What a live one asks at this minute; None for a snapshot. Raises BadQuestion."""
        return self._resolved(embed.saved) if embed.live else None

    def figures(self, embed: Embed, question: Question | None) -> Figures:
        """The figures: computed in the scope the maker had, or as they were frozen. Raises what the engine does."""
        if question is not None:
            return self._compute(question, embed.scope)
        with self._db.read() as rows:
            frozen = rows.scalar(select(EmbedToken.frozen).where(EmbedToken.id == embed.id))
        if frozen is None or hashlib.sha256(frozen).hexdigest() != embed.frozen_digest:
            raise NoSuchEmbed  # changed by other hands
        answer = thaw(frozen)
        return Figures(answer, cut=answer.table.num_rows >= MOST_ROWS)

    def _resolved(self, saved: Mapping[str, Any]) -> Question:
        return resolve(saved, self._clock() // STEP_S * STEP_S)

    def _compute(self, question: Question, scope: Scope) -> Figures:
        most = min(question.limit or MOST_ROWS, MOST_ROWS)
        answer = self._ask(replace(question, limit=most), scope)
        cut = answer.table.num_rows >= MOST_ROWS
        return Figures(answer, cut)

    def _forget(self) -> None:
        with self._lock:
            self._looks += 1
            self._kept.clear()
