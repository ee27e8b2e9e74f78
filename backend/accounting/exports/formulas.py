"""Text that a spreadsheet would take for a formula, made harmless in CSV, and back again.

A spreadsheet that opens a CSV file takes a cell for a formula when it begins with `=`, `+`, `-`, `@` (or one of
their full-width forms), also after blanks and invisible characters, and some do after a tab or a line end. Such a
text gets an apostrophe before it. So that this can be undone without knowing the original, a text that already looks
like a guarded one gets one more. Numbers are not touched: they come from numeric columns and hold nothing else.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

# The same pattern for Python and for Arrow's RE2.
INVISIBLE = r"[\x00-\x20\x7f-\xa0\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
LEADS = rf"(?:{INVISIBLE}*[=+\-@＝＋－＠]|[\t\r\n])"
GUARDED = rf"^'*{LEADS}"
_PATTERN = re.compile(GUARDED)


def guard(text: str) -> str:
    """The text as it stands in a CSV file."""
    return "'" + text if _PATTERN.match(text) else text


def unguard(text: str) -> str:
    """The text that `guard` was given."""
    return text[1:] if text.startswith("'") and _PATTERN.match(text) else text


def guard_all(texts: pa.Array) -> pa.Array:
    """`guard` for a whole column; nulls stay null."""
    risky = pc.match_substring_regex(texts, _RE2)
    if not pc.any(risky).as_py():
        return texts
    return pc.if_else(risky, pc.binary_join_element_wise("'", texts, ""), texts)


def _for_re2(pattern: str) -> str:
    return re.sub(r"\\u([0-9a-f]{4})", r"\\x{\1}", pattern).replace("^", r"\A", 1)


_RE2 = _for_re2(GUARDED)
