"""Reading the settings: `default.toml`, the site's file over it, the environment over both; all checked."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

from config.checks import NotAllowed, convert, from_text, show
from config.derive import complete
from config.errors import SettingsError
from config.secret_files import open_to_others, read_secret_file
from config.sections import SECRET, SECTIONS, Settings

DEFAULT_FILE = "default.toml"


@dataclass(frozen=True)
class _Raw:
    """A value as it was found, and where."""

    value: Any
    source: str
    base: Path  # relative paths are relative to this folder


def load_settings(
    path: Path | str | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """The settings of this instance.

    `path` is the site's TOML file (None: `CARME_CONFIG` of `environ`, or none at all); `overrides` are what a
    command line says, by dotted key (`{"web.port": 6006}`), and win over all else. Raises SettingsError.
    """
    chosen = path if path is not None else (environ.get("CARME_CONFIG") or None)
    file = _found(chosen) if chosen is not None else None
    here = Path.cwd()
    raw = _flatten(_parse(_default_text(), DEFAULT_FILE), DEFAULT_FILE, here)
    if file is not None:
        raw.update(_flatten(_parse(_site_text(file), str(file)), str(file), file.parent))
        _refuse_open_passwords(raw, file)
    raw.update(_environment(environ, here))
    for key, value in (overrides or {}).items():
        raw[key] = _Raw(str(value) if isinstance(value, Path) else value, "command line", here)
    _refuse_unknown(raw)
    values = _convert_all(raw)
    _read_secrets(values, raw)
    complete(values, {key: item.source for key, item in raw.items()})
    sections = {name: kind(**values[name]) for name, kind in SECTIONS.items()}
    return Settings(**sections, source=file)


def setting_keys() -> list[str]:
    """Every key that can stand in the settings file, dotted."""
    return [
        f"{section}.{each.name}"
        for section, kind in SECTIONS.items()
        for each in fields(kind)
        if not each.metadata.get(SECRET)
    ]


def _default_text() -> str:
    return (files("config") / DEFAULT_FILE).read_text(encoding="utf-8")


def _found(chosen: str | Path) -> Path:
    try:
        return Path(chosen).expanduser().absolute()
    except RuntimeError as error:
        raise SettingsError(str(chosen), "", "~NAME of someone who has no home folder here", "a file") from error


def _site_text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(str(file), "", str(error), "a readable TOML file in UTF-8") from error


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(source, "", str(error), "a TOML file") from error


def _flatten(document: dict[str, Any], source: str, base: Path) -> dict[str, _Raw]:
    flat: dict[str, _Raw] = {}
    for section, content in document.items():
        if section not in SECTIONS:
            allowed = "one of the sections " + ", ".join(SECTIONS)
            raise SettingsError(source, section, "an unknown section", allowed)
        if not isinstance(content, dict):
            raise SettingsError(source, section, show(content), f"a section: [{section}]")
        for key, value in content.items():
            flat[f"{section}.{key}"] = _Raw(value, source, base)
    return flat


def _environment(environ: Mapping[str, str], here: Path) -> dict[str, _Raw]:
    """CARME_DATA, and CARME_<SECTION>__<KEY> for any other key."""
    found: dict[str, _Raw] = {}
    if environ.get("CARME_DATA"):
        found["instance.data_dir"] = _Raw(environ["CARME_DATA"], "environment CARME_DATA", here)
    for variable, text in environ.items():
        match = re.fullmatch(r"CARME_([A-Z0-9]+)__([A-Z0-9_]+)", variable)
        if match is None:
            continue
        section, key = match[1].lower(), match[2].lower()
        source = f"environment {variable}"
        kind = (
            get_type_hints(SECTIONS[section], include_extras=True).get(key) if section in SECTIONS else None
        )
        if kind is None:
            raise SettingsError(
                source, f"{section}.{key}", "an unknown setting", "CARME_SECTION__KEY of a known key"
            )
        try:
            found[f"{section}.{key}"] = _Raw(from_text(kind, text), source, here)
        except NotAllowed as refusal:
            shown = "a text (not shown)" if _is_secret(section, key) else show(text)
            raise SettingsError(source, f"{section}.{key}", shown, refusal.allowed) from refusal
    return found


def _is_secret(section: str, key: str) -> bool:
    return any(each.name == key and each.metadata.get(SECRET) for each in fields(SECTIONS[section]))


def _refuse_unknown(raw: dict[str, _Raw]) -> None:
    for dotted, item in raw.items():
        section, _, key = dotted.partition(".")
        known = [each.name for each in fields(SECTIONS[section])] if section in SECTIONS else []
        if key not in known:
            allowed = f"one of the keys of [{section}]: " + ", ".join(
                k for k in known if not _is_secret(section, k)
            )
            raise SettingsError(item.source, dotted, "an unknown key", allowed)
        if _is_secret(section, key) and not item.source.startswith("environment"):
            allowed = f"{dotted}_file, or CARME_{section.upper()}__{key.upper()} in the environment"
            raise SettingsError(item.source, dotted, "a secret in the settings", allowed)


def _refuse_open_passwords(raw: dict[str, _Raw], file: Path) -> None:
    url = raw["store.url"]
    if url.source == str(file) and isinstance(url.value, str) and re.search(r"//[^/@]*:[^/@]+@", url.value):
        why = open_to_others(file)
        if why:
            raise SettingsError(
                str(file), "store.url", f"a password, in a file that {why}", "store.password_file"
            )


def _convert_all(raw: dict[str, _Raw]) -> dict[str, dict[str, Any]]:
    values: dict[str, dict[str, Any]] = {}
    for section, kind in SECTIONS.items():
        hints = get_type_hints(kind, include_extras=True)
        values[section] = {}
        for each in fields(kind):
            item = raw.get(f"{section}.{each.name}")
            if item is None:  # only secrets are absent from default.toml; a test holds that
                values[section][each.name] = ""
                continue
            may_be_empty = f"{section}.{each.name}" in EMPTY_UNTIL_COMPLETE
            if may_be_empty and item.value == "":
                values[section][each.name] = None
                continue
            try:
                values[section][each.name] = convert(hints[each.name], item.value, item.base)
            except NotAllowed as refusal:
                dotted = f"{section}.{each.name}{refusal.key}"
                found = "a text (not shown)" if each.metadata.get(SECRET) else show(item.value)
                raise SettingsError(item.source, dotted, found, refusal.allowed) from refusal
    return values


EMPTY_UNTIL_COMPLETE = frozenset(
    {
        "reports.folder",
        "telemetry.node_key_file",
        "instance.time_zone",
        "instance.news_file",
        "web.public_url",
        "apps.url",
        "agent.console_url",
        "launcher.socket",
        "store.url",
    }
)


def _read_secrets(values: dict[str, dict[str, Any]], raw: dict[str, _Raw]) -> None:
    for section, kind in SECTIONS.items():
        for each in fields(kind):
            file_key = f"{each.name}_file"
            if not each.metadata.get(SECRET) or values[section][each.name]:
                continue
            path = values[section].get(file_key)
            if path is not None:
                source = raw[f"{section}.{file_key}"].source
                values[section][each.name] = read_secret_file(path, source, f"{section}.{file_key}")


def environment() -> Mapping[str, str]:
    """The process's own environment, for callers that have no other."""
    return os.environ
