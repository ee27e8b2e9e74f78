"""What goes to a directory and what comes back: names that stay names, answers that mean one thing."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.operation.search import compile_filter, parse_filter
from ldap3.utils.dn import parse_dn

from backend.identity.directories.ldap.answers import (
    POLICY_CONTROL,
    POLICY_ERRORS,
    Policy,
    bind_answer,
    read_policy,
)
from backend.identity.directories.ldap.names import (
    CLUSTER_NAME,
    BadName,
    bind_name,
    escape_dn_value,
    person_filter,
    plain_dn,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
HOSTILE = st.text(st.sampled_from('()*\\|&!=<>~:,;+"# \x00/ab5c2a'), min_size=1, max_size=40)
FILTER = "(&(objectClass=posixAccount)(uid={name}))"


def parsed(text: str) -> list[tuple[str, bytes]]:
    """The equalities of a conjunction, as ldap3 will send them."""
    sent = compile_filter(parse_filter(text, None, False, True, None, False).elements[0])
    assert sent.getName() == "and"
    leaves = [leaf.getComponent() for leaf in sent.getComponent() if leaf.getName() == "equalityMatch"]
    assert len(leaves) == len(sent.getComponent())
    return [(str(leaf["attributeDesc"]), bytes(leaf["assertionValue"])) for leaf in leaves]


@given(TEXT | HOSTILE)
def test_any_name_is_one_value_in_the_filter_and_nothing_more(name: str) -> None:
    assert parsed(person_filter(FILTER, name)) == [("objectClass", b"posixAccount"), ("uid", name.encode())]


@pytest.mark.parametrize("name", ["*", "ada)(uid=*", "*)(|(uid=*", "ada\\29", "ada)(&)", "\\2a", "ada\x00"])
def test_known_injections_stay_values(name: str) -> None:
    assert parsed(person_filter(FILTER, name))[1] == ("uid", name.encode())


def test_every_place_of_the_name_is_filled() -> None:
    assert person_filter("(|(uid={name})(mail={name}))", "a*") == "(|(uid=a\\2a)(mail=a\\2a))"


@given(TEXT | HOSTILE)
def test_any_name_is_one_value_in_the_distinguished_name(name: str) -> None:
    dn = bind_name("uid={name},ou=people,dc=example", name)
    parts = parse_dn(dn)
    assert [(kind, value) for kind, value, _ in parts[1:]] == [("ou", "people"), ("dc", "example")]
    assert parts[0][0] == "uid"
    assert unescaped(parts[0][1]) == name


def unescaped(value: str) -> str:
    """RFC 4514, by the letter."""
    out, place = bytearray(), 0
    while place < len(value):
        if value[place] != "\\":
            out += value[place].encode()
            place += 1
        elif (
            set(value[place + 1 : place + 3]) <= set(string.hexdigits)
            and len(value[place + 1 : place + 3]) == 2
        ):
            out.append(int(value[place + 1 : place + 3], 16))
            place += 3
        else:
            out += value[place + 1].encode()
            place += 2
    return out.decode()


@pytest.mark.parametrize(
    ("name", "escaped"),
    [("a,b", "a\\,b"), (" a ", "\\ a\\ "), ("#a", "\\#a"), ("a\nb", "a\\0ab"), (" ", "\\ ")],
)
def test_a_value_is_escaped_as_rfc_4514_has_it(name: str, escaped: str) -> None:
    assert escape_dn_value(name) == escaped


@pytest.mark.parametrize("name", ["ada@evil.example", "ada,dc=x", "a b", "ada\\bob", "ädä", ""])
def test_only_plain_names_go_into_a_principal(name: str) -> None:
    with pytest.raises(BadName):
        bind_name("{name}@ad.example.org", name)


def test_a_plain_name_makes_a_principal() -> None:
    assert bind_name("{name}@ad.example.org", "ada.l") == "ada.l@ad.example.org"


def test_a_distinguished_name_is_the_same_however_it_is_written() -> None:
    assert plain_dn("CN=HPC-Admins, OU=Groups,DC=example") == plain_dn("cn=hpc-admins,ou=groups,dc=Example")
    assert plain_dn("cn=a\\2Cb,dc=x") == plain_dn("cn=a\\,b,dc=x")
    assert plain_dn("cn=a,dc=x") != plain_dn("cn=b,dc=x")


@given(st.text(max_size=40))
def test_no_text_breaks_the_comparison_of_names(text: str) -> None:
    assert plain_dn(text) == plain_dn(text)


@pytest.mark.parametrize("name", ["-rf", "a b", "a/b", "a\nb", "", "../x", "a" * 200, "$(id)", "ä"])
def test_a_name_that_is_no_unix_name_goes_no_further(name: str) -> None:
    assert not CLUSTER_NAME.fullmatch(name)


# The password policy's control


def control(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return bytes([0x30, len(body)]) + body


@pytest.mark.parametrize("code", range(len(POLICY_ERRORS)))
def test_each_error_of_the_policy_is_read(code: int) -> None:
    assert read_policy(control(bytes([0x81, 1, code]))) == Policy(error=POLICY_ERRORS[code])


def test_warnings_are_read() -> None:
    assert read_policy(control(bytes([0xA0, 4, 0x80, 2, 0x0E, 0x10]))) == Policy(expires_in_s=3600)
    assert read_policy(control(bytes([0xA0, 3, 0x81, 1, 3]))) == Policy(grace_left=3)


@given(st.binary(max_size=64))
def test_no_bytes_break_the_reading(value: bytes) -> None:
    assert read_policy(value).error in ("", *POLICY_ERRORS)


def result(code: int, message: str = "", policy: bytes | None = None) -> dict[str, object]:
    controls = {POLICY_CONTROL: {"value": policy}} if policy is not None else {}
    return {"result": code, "description": "x", "message": message, "controls": controls}


LOCKED = control(bytes([0x81, 1, 1]))
EXPIRED = control(bytes([0x81, 1, 0]))
RESET = control(bytes([0x81, 1, 2]))


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (result(0), "right"),
        (result(0, policy=RESET), "must change"),
        (result(49), "wrong"),
        (result(49, policy=LOCKED), "locked"),
        (result(49, policy=EXPIRED), "expired"),
        (result(32), "wrong"),
        (result(34), "wrong"),
        (result(53), "wrong"),
        (result(51), "failed"),
        (result(52), "failed"),
        ({}, "failed"),
        (result(49, "80090308: LdapErr: DSID-0C09042A, comment: x, data 52e, v3839"), "wrong"),
        (result(49, "80090308: LdapErr: DSID-0C09042A, comment: x, data 525, v3839"), "wrong"),
        (result(49, "80090308: LdapErr: DSID-0C09042A, comment: x, data 775, v3839"), "locked"),
        (result(49, "80090308: LdapErr: DSID-0C09042A, comment: x, data 533, v3839"), "locked"),
        (result(49, "80090308: LdapErr: DSID-0C09042A, comment: x, data 532, v3839"), "expired"),
        (result(49, "80090308: LdapErr: DSID-0C09042A, comment: x, data 773, v3839"), "expired"),
    ],
)
def test_an_answer_means_one_thing(answer: dict[str, object], verdict: str) -> None:
    assert bind_answer(answer).verdict == verdict
