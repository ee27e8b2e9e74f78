"""Every character that the console's own files show is one that fonts have: else a person sees an empty box."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHOWN = (("assets/web", ("*.js", "*.css", "*.svg")), ("app/templates", ("*.html",)), ("pages", ("*.py",)))
# What the Roboto beside the styles has, beyond Latin-1.
SHIPPED = set("–’“”›…€−")
# What it has not, and DejaVu Sans has, to which systems without fonts of their own fall back.
FALLBACK = set("\u2003‖↑→↓↔↻⇥≠⊘⋯■▬▲▶▼▽◇○◌●◐◑◕◷★☾⚒✎✓✕")
ESCAPED = re.compile(r"\\u\{?([0-9a-fA-F]{4,5})\}?")


def test_no_character_is_without_a_font() -> None:
    known = set(range(0x100)) | {ord(each) for each in SHIPPED | FALLBACK}
    missing: dict[str, set[str]] = {}
    for folder, endings in SHOWN:
        for ending in endings:
            for path in (ROOT / folder).rglob(ending):
                text = path.read_text()
                used = {ord(each) for each in text} | {int(code, 16) for code in ESCAPED.findall(text)}
                for code in used - known:
                    missing.setdefault(chr(code), set()).add(path.name)
    assert missing == {}
