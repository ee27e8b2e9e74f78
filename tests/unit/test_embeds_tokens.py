"""Embed tokens: what one gives, and everything that ends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.accounting.embeds import EmbedGone, EmbedRefused, NoSuchEmbed
from backend.accounting.embeds.frozen import NotFrozen, freeze, thaw
from backend.accounting.embeds.origins import BadOrigin, origin, origins
from backend.accounting.embeds.service import DAY_S
from backend.accounting.embeds.token import id_of
from backend.accounting.usage import Scope
from backend.store.models import Audit, EmbedToken
from tests.unit.embeds_kit import SAVED, SITE, EmbedKit, kit


@pytest.fixture
def made(tmp_path: Path) -> EmbedKit:
    return kit(tmp_path)


def why(made: EmbedKit, token: str) -> str:
    with pytest.raises(EmbedGone) as gone:
        made.shown(token)
    assert gone.value.origins == (SITE,)
    return gone.value.why


def test_a_token_shows_what_its_maker_might_see(made: EmbedKit) -> None:
    assert made.shown(made.token("ada")) == {"ada": 10.0, "eve": 2.5}
    assert made.shown(made.token("bob")) == {"bob": 4.0}
    assert made.shown(made.token("olga")) == {"ada": 10.0, "eve": 2.5, "bob": 4.0}


def test_a_live_one_follows_the_warehouse_and_the_clock_a_snapshot_neither(made: EmbedKit) -> None:
    live, still = made.token(live=True), made.token(live=False)
    made.factor = 2.0
    made.clock.forward(3600)
    asked = len(made.asked)
    assert made.shown(still) == {"ada": 10.0, "eve": 2.5}
    assert len(made.asked) == asked
    assert made.shown(live) == {"ada": 20.0, "eve": 5.0}
    assert made.asked[-1][0].until_s == made.asked[0][0].until_s + 3600


def test_a_window_that_moves_asks_one_question_a_minute(made: EmbedKit) -> None:
    embed = made.embeds.admit(made.token())
    made.clock.now_s = 6000 * 60
    first = made.embeds.question(embed)
    made.clock.forward(59)
    assert made.embeds.question(embed) == first
    made.clock.forward(1)
    assert made.embeds.question(embed) != first


def test_its_scope_stays_that_of_its_making_when_the_makers_grows(made: EmbedKit) -> None:
    token = made.token("bob")
    made.identity.identity.set_roles("console", "bob", ("admin",))
    made.embeds._forget()
    assert made.shown(token) == {"bob": 4.0}
    assert made.asked[-1][1] == Scope(user="bob", uid=made.viewer("bob").uid)


def test_a_maker_who_lost_the_right_ends_it(made: EmbedKit) -> None:
    of_ada, of_olga, still = made.token("ada"), made.token("olga"), made.token("olga", live=False)
    made.identity.identity.set_roles("console", "olga", ())
    made.identity.identity.coordinates_by(lambda _name: frozenset())
    assert [why(made, token) for token in (of_ada, of_olga, still)] == ["maker"] * 3
    made.identity.identity.set_roles("console", "olga", ("operator",))
    assert made.shown(of_olga)


def test_a_locked_maker_ends_it(made: EmbedKit) -> None:
    token = made.token("bob")
    made.identity.identity.lock_person("console", "bob")
    assert why(made, token) == "maker"


def test_it_ends_at_its_time(made: EmbedKit) -> None:
    token = made.token(days=1)
    made.clock.forward(DAY_S - 1)
    assert made.shown(token)
    made.clock.forward(1)
    assert why(made, token) == "expired"


def test_it_ends_at_once_when_revoked_also_where_it_was_just_seen(made: EmbedKit) -> None:
    info = made.make("ada")
    assert info.token is not None
    assert made.shown(info.token)
    made.embeds.revoke(made.viewer("ada"), info.id)
    assert why(made, info.token) == "revoked"


def test_its_maker_and_operators_may_revoke_and_nobody_else(made: EmbedKit) -> None:
    info = made.make("ada")
    for stranger, embed_id in (("bob", info.id), ("ada", "0" * 16)):
        with pytest.raises(NoSuchEmbed):
            made.embeds.revoke(made.viewer(stranger), embed_id)
    assert made.embeds.revoke(made.viewer("olga"), info.id).revoked_s == int(made.clock.now_s)


def test_each_sees_their_own_and_operators_all_but_no_tokens_of_others(made: EmbedKit) -> None:
    of_ada, of_bob = made.make("ada"), made.make("bob")
    assert [each.id for each in made.embeds.listed(made.viewer("ada"), everyones=True)] == [of_ada.id]
    assert made.embeds.listed(made.viewer("bob")) == [of_bob]
    everyones = made.embeds.listed(made.viewer("olga"), everyones=True)
    assert {each.id for each in everyones} == {of_ada.id, of_bob.id}
    assert {each.token for each in everyones} == {None}
    assert made.embeds.listed(made.viewer("olga")) == []


@given(st.text(max_size=80))
def test_no_text_is_a_token_by_chance(text: str) -> None:
    assert id_of(text) is None or len(text) == 60


def test_a_guessed_signature_another_token_s_and_another_instance_s_are_none(made: EmbedKit, tmp_path: Path) -> None:
    token, other = made.token("ada"), made.token("bob")
    elsewhere = kit(tmp_path / "elsewhere").token("ada")
    flipped = token[:-1] + ("A" if token[-1] != "A" else "B")
    for wrong in (flipped, token[:17] + other[17:], token[:17] + "A" * 43, elsewhere, token + "A", token.upper(), ""):
        with pytest.raises(NoSuchEmbed):
            made.embeds.admit(wrong)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("question", SAVED | {"by": []}),
        ("scope", {"everything": True, "user": None, "uid": None, "accounts": []}),
        ("origins", ["https://evil.example"]),
        ("expires_s", 2**40),
        ("owner", "olga"),
        ("frozen_digest", "0" * 64),
        ("title", "Something else"),
    ],
)
def test_a_row_changed_by_other_hands_has_no_token(made: EmbedKit, field: str, value: object) -> None:
    token = made.token("ada")
    with made.identity.db.begin() as rows:
        row = rows.query(EmbedToken).one()
        setattr(row, field, value)
    with pytest.raises(NoSuchEmbed):
        made.embeds.admit(token)


def test_figures_changed_by_other_hands_are_not_shown(made: EmbedKit) -> None:
    token = made.token("ada", live=False)
    with made.identity.db.begin() as rows:
        made.factor = 9.0
        answer = made.ask(made.asked[0][0], made.asked[0][1])
        rows.query(EmbedToken).one().frozen = freeze(answer)
    with pytest.raises(NoSuchEmbed):
        made.shown(token)


def test_a_frozen_answer_comes_out_as_it_went_in(made: EmbedKit) -> None:
    made.make("ada")
    answer = made.ask(*made.asked[0])
    assert thaw(freeze(answer)) == answer
    for bad in (b"", b"\x00" * 40, freeze(answer)[:-200]):
        with pytest.raises(NotFrozen):
            thaw(bad)


def test_it_can_not_hold_for_ever_and_not_be_made_where_they_are_off(made: EmbedKit, tmp_path: Path) -> None:
    for days in (0, -1, 731):
        with pytest.raises(EmbedRefused):
            made.make(days=days)
    assert made.make().expires_s == int(made.clock.now_s) + 730 * DAY_S
    off = kit(tmp_path / "off", EMBEDS__ENABLED="false")
    with pytest.raises(EmbedRefused):
        off.make()
    with pytest.raises(NoSuchEmbed):
        off.embeds.admit(made.token())


@pytest.mark.parametrize("title", ["", " \n", "a\x00b", "a\x1bb", "\ud800"])
def test_a_title_is_a_line_that_can_be_shown(made: EmbedKit, title: str) -> None:
    with pytest.raises(EmbedRefused, match="title"):
        made.make(title=title)
    assert made.make(title=" Who\nuses it ").title == "Who uses it"


def test_making_and_revoking_leave_a_line_without_the_token(made: EmbedKit) -> None:
    info = made.make("ada", address="192.0.2.7")
    made.embeds.revoke(made.viewer("olga"), info.id, "192.0.2.8")
    with made.identity.db.read() as rows:
        lines = [line for line in rows.query(Audit) if line.action.startswith("embed.")]
    assert [(line.actor, line.action, line.target) for line in lines] == [
        ("ada", "embed.make", info.id),
        ("olga", "embed.revoke", info.id),
    ]
    assert info.token is not None
    assert info.token[17:] not in str([line.detail for line in lines])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://wiki.example.org", "https://wiki.example.org"),
        (" HTTPS://Wiki.Example.org:443/ ", "https://wiki.example.org"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_a_site_is_named_as_browsers_do(text: str, found: str) -> None:
    assert origin(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "", "*", "null", "wiki.example.org", "https://*.example.org", "https://wiki.example.org/page", "https:///",
        "https://a b", "https://wiki.example.org; script-src *", "https://u@wiki.example.org", "ftp://x.org",
        "https://x.org:0", "https://x.org:99999", "https://x.org\n/", "https://bücher.example", "https://x.org,y.org",
    ],
)  # fmt: skip
def test_what_is_no_site_is_refused(text: str) -> None:
    with pytest.raises(BadOrigin):
        origin(text)


def test_one_site_at_least_and_ten_at_most() -> None:
    for sites in ([], [f"https://w{n}.example.org" for n in range(11)]):
        with pytest.raises(BadOrigin):
            origins(sites)
