"""Settings: documented, typed, refused with the reason."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config import SettingsError, load_settings, setting_keys
from config.sections import SECTIONS

EXAMPLES = sorted(Path("config/examples").glob("*.toml"))


def site(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "site.toml"
    file.write_text(text)
    file.chmod(0o600)
    return file


def refusal(path: Path | None = None, **environ: str) -> SettingsError:
    with pytest.raises(SettingsError) as raised:
        load_settings(path, environ)
    return raised.value


def default_text() -> str:
    return (files("config") / "default.toml").read_text()


def test_every_key_stands_in_the_default_file() -> None:
    document = tomllib.loads(default_text())
    written = {f"{section}.{key}" for section, table in document.items() for key in table}
    assert written == set(setting_keys())


def test_every_key_is_explained() -> None:
    """The line before a key, or before the group it stands in, is a comment."""
    lines = default_text().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"[a-z_0-9]+ = ", line):
            above = [x for x in lines[:number] if not re.match(r"[a-z_0-9]+ = ", x)]
            assert above[-1].startswith("#"), line


def test_defaults_are_a_working_start(tmp_path: Path) -> None:
    settings = load_settings(None, {"CARME_DATA": str(tmp_path)})
    assert settings.instance.data_dir == tmp_path
    assert settings.store.url == f"sqlite:///{tmp_path}/carme.db"
    assert settings.web.public_url == "http://localhost:5006"
    assert settings.apps.url == "http://{session}.localhost:5007"
    assert settings.agent.console_url == settings.web.public_url
    assert settings.launcher.socket == tmp_path / "run" / "launcher.sock"
    assert settings.login.second_factor == "required"


def test_ports_reach_the_addresses_that_follow_from_them() -> None:
    settings = load_settings(None, {}, {"web.port": 8080, "apps.port": 8081})
    assert settings.web.public_url == "http://localhost:8080"
    assert settings.apps.url == "http://{session}.localhost:8081"


def test_the_sites_file_wins_over_the_default_and_the_environment_over_both(tmp_path: Path) -> None:
    file = site(tmp_path, "[web]\nport = 1000\n[login]\nidle_s = 600\n")
    settings = load_settings(file, {"CARME_WEB__PORT": "2000"})
    assert (settings.web.port, settings.login.idle_s, settings.source) == (2000, 600, file)


def test_the_environment_names_the_sites_file(tmp_path: Path) -> None:
    file = site(tmp_path, "[instance]\nname = 'Elsewhere'\n")
    assert load_settings(None, {"CARME_CONFIG": str(file)}).instance.name == "Elsewhere"


def test_a_relative_path_is_relative_to_its_file(tmp_path: Path) -> None:
    file = site(tmp_path, "[instance]\nnews_file = 'news/today.md'\n")
    assert load_settings(file, {}).instance.news_file == tmp_path / "news" / "today.md"


def test_a_wrong_value_names_file_key_found_and_allowed(tmp_path: Path) -> None:
    file = site(tmp_path, "[web]\nport = 'eighty'\n")
    error = refusal(file)
    assert (error.source, error.key) == (str(file), "web.port")
    assert str(error) == f'{file}: web.port: found "eighty"; allowed: a whole number'


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        ("[web]\nprot = 1\n", "web.prot", "one of the keys of [web]"),
        ("[wbe]\nport = 1\n", "wbe", "one of the sections"),
        ("web = 1\n", "web", "a section"),
        ("[web]\nport = 0\n", "web.port", "from 1 to 65535"),
        ("[web]\nport = true\n", "web.port", "a whole number"),
        ("[web]\npublic_url = 'https://a.example/path'\n", "web.public_url", "no path"),
        ("[apps]\nurl = 'https://apps.{session}.example'\n", "apps.url", "first part of the host"),
        ("[web]\ntrusted_proxies = ['nginx']\n", "web.trusted_proxies", "IP addresses"),
        ("[instance]\ntime_zone = 'Europe/Berlyn'\n", "instance.time_zone", "tz database"),
        ("[instance]\nname = ''\n", "instance.name", "1 to 80"),
        ("[login]\nsecond_factor = 'maybe'\n", "login.second_factor", '"required", "optional", "off"'),
        ("[login]\nwarn_s = 3600\n", "login.warn_s", "less than login.idle_s"),
        ("[login]\nidle_s = 99999\n", "login.idle_s", "at most login.absolute_s"),
        ("[ldap]\nroles = { king = ['x'] }\n", "ldap.roles", "operator and admin"),
        ("[ldap]\nuser_filter = '(uid=*)'\n", "ldap.user_filter", "{name}"),
        ("[ldap]\nuid_attribute = 'uid)(x'\n", "ldap.uid_attribute", "LDAP attribute"),
        ("[store]\nurl = 'oracle://x'\n", "store.url", "sqlite://"),
        ("[sessions]\ndefault_app = 'emacs'\n", "sessions.default_app", "one of sessions.apps"),
        (
            "[[sessions.images]]\nname = 'a'\npath = '/x'\n",
            "sessions.images[0]",
            "exactly name, path, apps",
        ),
        (
            "[[sessions.images]]\nname = 'a\\nb'\npath = '/x'\napps = []\n",
            "sessions.images[0].name",
            "letters, digits",
        ),
    ],
)
def test_it_is_refused_with_what_is_allowed(tmp_path: Path, text: str, key: str, allowed: str) -> None:
    error = refusal(site(tmp_path, text))
    assert error.key == key
    assert allowed in error.allowed


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    assert "a TOML file" in refusal(site(tmp_path, "port 5006")).allowed


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "a readable TOML file" in refusal(tmp_path / "absent.toml").allowed


def test_an_unknown_variable_of_ours_is_refused() -> None:
    assert refusal(CARME_WEB__PRT="1").source == "environment CARME_WEB__PRT"
    assert refusal(CARME_WEP__PORT="1").key == "wep.port"


def test_lists_and_tables_come_from_the_environment_too() -> None:
    environ = {
        "CARME_WEB__TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8",
        "CARME_LDAP__ROLES": '{ admin = ["root-group"] }',
        "CARME_LDAP__NESTED_GROUPS": "no",
    }
    settings = load_settings(None, environ)
    assert settings.web.trusted_proxies == ("127.0.0.1", "10.0.0.0/8")
    assert settings.ldap.roles == {"admin": ("root-group",)}
    assert settings.ldap.nested_groups is False


LDAP = """
[directory]
kind = "ldap"
[ldap]
servers = ["ldap://one.example", "ldap://two.example:1389"]
bind_dn = "cn=console,dc=example"
base_dn = "dc=example"
"""


def test_a_secret_comes_from_a_file_only_its_owner_can_read(tmp_path: Path) -> None:
    secret = tmp_path / "bind-password"
    secret.write_text("s3cret\n")
    file = site(tmp_path, LDAP + 'bind_password_file = "bind-password"\n')
    for mode in (0o600, 0o400):
        secret.chmod(mode)
        assert load_settings(file, {}).ldap.bind_password == "s3cret"
    for mode, who in ((0o644, "everybody"), (0o604, "everybody"), (0o640, "its group"), (0o620, "its group")):
        secret.chmod(mode)
        error = refusal(file)
        assert error.key == "ldap.bind_password_file"
        assert who in error.found
        assert "s3cret" not in str(error)


def test_a_secret_comes_from_the_environment(tmp_path: Path) -> None:
    settings = load_settings(site(tmp_path, LDAP), {"CARME_LDAP__BIND_PASSWORD": "s3cret"})
    assert settings.ldap.bind_password == "s3cret"
    assert "s3cret" not in repr(settings)


def test_a_secret_in_the_settings_file_is_refused(tmp_path: Path) -> None:
    error = refusal(site(tmp_path, LDAP + 'bind_password = "s3cret"\n'))
    assert error.key == "ldap.bind_password"
    assert "bind_password_file" in error.allowed
    assert "s3cret" not in str(error)


def test_an_empty_or_absent_secret_file_is_refused(tmp_path: Path) -> None:
    file = site(tmp_path, LDAP + 'bind_password_file = "bind-password"\n')
    assert refusal(file).key == "ldap.bind_password_file"
    (tmp_path / "bind-password").touch(0o600)
    assert "empty" in refusal(file).found


def test_a_database_password_in_an_open_file_is_refused(tmp_path: Path) -> None:
    file = site(tmp_path, '[store]\nurl = "mysql+pymysql://carme:s3cret@db/carme"\n')
    assert load_settings(file, {}).store.url.endswith("s3cret@db/carme")
    file.chmod(0o644)
    error = refusal(file)
    assert error.key == "store.url"
    assert "s3cret" not in str(error)


def test_a_database_password_shows_in_no_refusal_and_no_repr(tmp_path: Path) -> None:
    error = refusal(site(tmp_path, '[store]\nurl = "oracle://carme:s3cret@db/carme"\n'))
    assert "s3cret" not in str(error)
    settings = load_settings(site(tmp_path, '[store]\nurl = "mysql+pymysql://carme:s3cret@db/carme"\n'), {})
    assert "s3cret" not in repr(settings)


def test_a_database_password_is_put_into_the_url_escaped(tmp_path: Path) -> None:
    file = site(tmp_path, '[store]\nurl = "mysql+pymysql://carme@db/carme"\n')
    settings = load_settings(file, {"CARME_STORE__PASSWORD": "a/b@c"})
    assert settings.store.url == "mysql+pymysql://carme:a%2Fb%40c@db/carme"


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (('servers = ["ldap://one.example", "ldap://two.example:1389"]', ""), "ldap.servers"),
        (("ldap://one", "ldaps://one"), "ldap.servers"),
        (('base_dn = "dc=example"', ""), "ldap.base_dn"),
        (('bind_dn = "cn=console,dc=example"', ""), "ldap.bind_dn"),
        (("[ldap]", '[ldap]\nbind = "direct"'), "ldap.user_dn_template"),
        (("[ldap]", "[ldap]\nca_file = 7"), "ldap.ca_file"),
    ],
)
def test_a_directory_needs_what_it_needs(tmp_path: Path, change: tuple[str, str], key: str) -> None:
    assert refusal(site(tmp_path, LDAP.replace(*change)), CARME_LDAP__BIND_PASSWORD="x").key == key


def test_a_service_bind_without_a_password_is_refused(tmp_path: Path) -> None:
    assert refusal(site(tmp_path, LDAP)).key == "ldap.bind_password_file"


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda path: path.name)
def test_a_site_example_is_good_settings(file: Path, tmp_path: Path) -> None:
    text = file.read_text()
    for name in re.findall(r'^\w+_file = "(/etc/carme/[^"]+)"', text, re.MULTILINE):
        local = tmp_path / Path(name).name
        local.write_text("c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ=")
        local.chmod(0o600)
        text = text.replace(name, str(local))
    load_settings(site(tmp_path, text), {})


def test_there_are_site_examples() -> None:
    assert {path.name for path in EXAMPLES} >= {"slurm-site.toml"}


KEYS = sorted(
    f"CARME_{section.upper()}__{each.name.upper()}"
    for section, kind in SECTIONS.items()
    for each in fields(kind)
)


def test_a_file_in_the_home_of_nobody_is_refused_in_words() -> None:
    assert "home folder" in refusal(Path("~nobody-of-this-name/carme.toml")).found


@example("CARME_ACCOUNTING__PROJECTS_FILE", "~nobody-of-this-name/projects.toml")
@given(st.sampled_from(KEYS), st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_any_text_for_any_key_is_taken_or_refused_by_name(variable: str, text: str) -> None:
    try:
        load_settings(None, {variable: text})
    except SettingsError as error:
        assert error.source
        assert error.allowed
        assert error.key


JSON_LIKE = st.recursive(
    st.booleans() | st.integers(-(2**40), 2**40) | st.text("ab c.*{}", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=4,
)


@given(st.sampled_from(sorted(setting_keys())), JSON_LIKE)
def test_any_value_for_any_key_is_taken_or_refused_by_name(key: str, value: object) -> None:
    try:
        load_settings(None, {}, {key: value})
    except SettingsError as error:
        assert error.key.startswith(key.split(".", maxsplit=1)[0])
