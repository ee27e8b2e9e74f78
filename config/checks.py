"""From a TOML value (or a text of the environment) to a typed value, or a refusal that says what is
allowed."""

from __future__ import annotations

import json
import re
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


class NotAllowed(ValueError):
    """A value that a setting does not take; the message says what it takes, `key` where inside the value."""

    def __init__(self, allowed: str, key: str = "") -> None:
        super().__init__(allowed)
        self.allowed = allowed
        self.key = key


@dataclass(frozen=True)
class Between:
    low: float
    high: float

    def check(self, value: Any) -> None:
        if not self.low <= value <= self.high:
            raise NotAllowed(f"a number from {self.low} to {self.high}")


@dataclass(frozen=True)
class Matches:
    pattern: str
    words: str

    def check(self, value: str) -> None:
        if not re.fullmatch(self.pattern, value):
            raise NotAllowed(self.words)


@dataclass(frozen=True)
class Uri:
    schemes: tuple[str, ...]

    def __init__(self, *schemes: str) -> None:
        object.__setattr__(self, "schemes", schemes)

    def check(self, value: str) -> None:
        scheme, separator, rest = value.partition("://")
        if not separator or scheme not in self.schemes or not rest or re.search(r"[\s\x00-\x1f]", value):
            raise NotAllowed("an address that starts with " + " or ".join(f"{s}://" for s in self.schemes))


@dataclass(frozen=True)
class Origin:
    """scheme://host[:port] and nothing behind it."""

    placeholder: str = ""

    def check(self, value: str) -> None:
        words = "http:// or https:// with a host and perhaps a port, and no path"
        if self.placeholder:
            words += f"; {self.placeholder} may be the first part of the host"
        host_text = value.replace(self.placeholder, "x", 1) if self.placeholder else value
        if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:-]+", host_text):
            raise NotAllowed(words)
        try:
            parts = urlsplit(host_text)
            good = bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        placed = not self.placeholder or self.placeholder not in value or f"://{self.placeholder}." in value
        if not good or not placed:
            raise NotAllowed(words)


@dataclass(frozen=True)
class Zone:
    def check(self, value: str) -> None:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise NotAllowed("a zone of the tz database, such as Europe/Berlin") from error


def convert(kind: Any, value: Any, base: Path) -> Any:
    """`value` as `kind`; relative paths are taken from `base`. Raises NotAllowed."""
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *checks = get_args(kind)
        converted = convert(inner, value, base)
        for check in checks:
            check.check(converted)
        return converted
    if origin is Literal:
        if not isinstance(value, str) or value not in get_args(kind):
            raise NotAllowed("one of " + ", ".join(f'"{word}"' for word in get_args(kind)))
        return value
    if origin in (Union, types.UnionType):  # only `Path | None` is used
        return None if value == "" and isinstance(value, str) else convert(Path, value, base)
    if origin in (tuple, dict):
        return _collection(kind, value, base)
    if is_dataclass(kind):
        return _table(kind, value, base)
    return _plain(kind, value, base)


def _collection(kind: Any, value: Any, base: Path) -> Any:
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise NotAllowed("a list")
        return tuple(_inside(f"[{i}]", get_args(kind)[0], item, base) for i, item in enumerate(value))
    if not isinstance(value, dict):
        raise NotAllowed("a table")
    return {name: _inside(f".{name}", get_args(kind)[1], item, base) for name, item in value.items()}


def _inside(where: str, kind: Any, value: Any, base: Path) -> Any:
    try:
        return convert(kind, value, base)
    except NotAllowed as refusal:
        raise NotAllowed(refusal.allowed, where + refusal.key) from refusal


def _table(kind: Any, value: Any, base: Path) -> Any:
    names = [each.name for each in fields(kind)]
    if not isinstance(value, dict) or set(value) != set(names):
        raise NotAllowed("a table with exactly " + ", ".join(names))
    hints = get_type_hints(kind, include_extras=True)
    return kind(**{name: _inside(f".{name}", hints[name], value[name], base) for name in names})


def _plain(kind: Any, value: Any, base: Path) -> Any:
    if kind is bool:
        if not isinstance(value, bool):
            raise NotAllowed("true or false")
        return value
    if kind is int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise NotAllowed("a whole number")
        return value
    if kind is float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise NotAllowed("a number")
        return float(value)
    if not isinstance(value, str):
        raise NotAllowed("a text")
    if "\x00" in value:
        raise NotAllowed("a text without NUL")
    if kind is Path:
        if not value:
            raise NotAllowed("a path")
        try:
            return base / Path(value).expanduser()
        except RuntimeError:
            raise NotAllowed("a path; ~NAME only of someone who has a home folder here") from None
    return value


def from_text(kind: Any, text: str) -> Any:
    """A text of the environment as the TOML value it stands for. Raises NotAllowed."""
    origin = get_origin(kind)
    if origin is Annotated:
        return from_text(get_args(kind)[0], text)
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.strip().lower() not in words:
            raise NotAllowed("true or false")
        return words[text.strip().lower()]
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError as error:
            raise NotAllowed("a whole number" if kind is int else "a number") from error
    if origin in (tuple, dict):
        return _structure(origin, text)
    return text


def _structure(origin: Any, text: str) -> Any:
    stripped = text.strip()
    if origin is tuple and not stripped.startswith("["):
        return [part.strip() for part in stripped.split(",") if part.strip()]
    try:
        return tomllib.loads(f"value = {stripped}")["value"]
    except tomllib.TOMLDecodeError:
        try:
            return json.loads(stripped)
        except json.JSONDecodeError as error:
            raise NotAllowed("a list or table as TOML or JSON") from error


def show(value: Any) -> str:
    """What was found, short enough for one line."""
    text = json.dumps(value, default=str) if isinstance(value, str | Mapping | list) else repr(value)
    text = re.sub(r"(//[^/@:\s]*):[^@\s]*@", r"\1:***@", text)  # a URL's password
    return text if len(text) <= 120 else text[:117] + "..."
