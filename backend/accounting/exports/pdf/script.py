"""Text of any script on paper: which font draws what, right-to-left order, and the original beside the drawing.

DejaVu Sans (Latin, Greek, Cyrillic, Hebrew, Arabic, Georgian, Armenian and many signs) is embedded; Chinese,
Japanese and Korean are set in the fonts that PDF readers bring. Right-to-left text is joined (Arabic) and put in the
order it is read in; vowel marks are not placed finely. Where what is drawn differs from the text (that order, a line
end, a cut, a sign no font has), the text itself stands in the file as the span's ActualText: readers that know it
copy and search the original.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import arabic_reshaper
from bidi import get_display
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

FOLDER = Path(__file__).resolve().parents[4] / "assets" / "fonts"
PLAIN, BOLD = "CarmeSans", "CarmeSans-Bold"
MISSING = "\N{REPLACEMENT CHARACTER}"
CUT = "…"
LINE_END = "⏎"
# The first that has a character draws it. Names of Adobe's character collections; nothing of them is embedded.
EAST_ASIAN = (
    ("HYGothic-Medium", ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF))),
    ("HeiseiKakuGo-W5", ((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9D))),
    ("STSong-Light", ((0x2E80, 0x303F), (0x3200, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF00, 0xFF65))),
)
BRACKETS = (("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"), ("«", "»"))
RIGHT_TO_LEFT = frozenset({"R", "AL", "RLE", "RLO", "RLI", "AN"})


@dataclass(frozen=True)
class Drawn:
    """What stands on paper for a text: pieces of one font each, left to right."""

    text: str
    pieces: tuple[tuple[str, str], ...]  # font name, characters
    width: float  # points
    faithful: bool  # one piece, and it is the text


@cache
def register() -> None:
    """Make the fonts known to reportlab, once a process."""
    pdfmetrics.registerFont(TTFont(PLAIN, str(FOLDER / "DejaVuSans.ttf")))
    pdfmetrics.registerFont(TTFont(BOLD, str(FOLDER / "DejaVuSans-Bold.ttf")))
    for name, _ in EAST_ASIAN:
        pdfmetrics.registerFont(UnicodeCIDFont(name))


def set_text(text: str, size: float, most: float = float("inf"), font: str = PLAIN) -> Drawn:
    """`text` as it is drawn on one line of at most `most` points; cut with an ellipsis when it is longer."""
    if text.isascii() and text.isprintable():
        width = pdfmetrics.stringWidth(text, font, size)
        if width <= most:
            return Drawn(text, ((font, text),), width, faithful=True)
    shown = _one_line(text)
    pieces = _pieces(_in_reading_order(shown), font)
    width = _width(pieces, size)
    if width > most:
        shown = _cut(shown, size, most, font)
        pieces = _pieces(_in_reading_order(shown), font)
        width = _width(pieces, size)
    return Drawn(text, pieces, width, faithful=[part for _, part in pieces] == [text])


def draw(canvas: Canvas, drawn: Drawn, x: float, y: float, size: float) -> None:
    """Draw with the baseline beginning at (x, y)."""
    if not drawn.faithful:
        canvas._code.append(f"/Span <</ActualText <FEFF{drawn.text.encode('utf-16-be').hex().upper()}>>> BDC")
    for font, part in drawn.pieces:
        canvas.setFont(font, size)
        canvas.drawString(x, y, part)
        x += pdfmetrics.stringWidth(part, font, size)
    if not drawn.faithful:
        canvas._code.append("EMC")


def lines(text: str, size: float, most: float, font: str = PLAIN) -> list[Drawn]:
    """A paragraph broken at blanks; a word that is too long for a line is cut."""
    found: list[Drawn] = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and set_text(longer, size, font=font).width > most:
                found.append(set_text(line, size, most, font))
                line = word
            else:
                line = longer
        found.append(set_text(line, size, most, font))
    return found


def _one_line(text: str) -> str:
    """Line ends as a sign, other control and invisible formatting characters left out."""
    text = text.replace("\r\n", LINE_END).replace("\n", LINE_END).replace("\r", LINE_END).replace("\t", " ")
    return "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Cn", "Co"))


def _in_reading_order(text: str) -> str:
    if not any(unicodedata.bidirectional(c) in RIGHT_TO_LEFT for c in text):
        return text
    return _mirrored(str(get_display(_shaper().reshape(text))))


def _mirrored(text: str) -> str:
    """Brackets that came to stand back to back in the new order, turned to face each other."""
    found = list(text)
    for left, right in BRACKETS:
        closed: list[int] = []
        depth = 0
        for at, character in enumerate(text):
            if character == left and closed:
                found[closed.pop()], found[at] = left, right
            elif character == left:
                depth += 1
            elif character == right and depth:
                depth -= 1
            elif character == right:
                closed.append(at)
    return "".join(found)


@cache
def _shaper() -> arabic_reshaper.ArabicReshaper:
    return arabic_reshaper.ArabicReshaper({"delete_harakat": False, "support_ligatures": True})


def _pieces(text: str, font: str) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for character in text:
        name = _font_of(character, font)
        shown = character if name else MISSING
        name = name or font
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1] + shown)
        else:
            found.append((name, shown))
    return tuple(found)


@cache
def _font_of(character: str, font: str) -> str | None:
    register()
    if ord(character) in pdfmetrics.getFont(font).face.charToGlyph:
        return font
    for name, ranges in EAST_ASIAN:
        if any(first <= ord(character) <= last for first, last in ranges):
            return name
    return None


def _width(pieces: tuple[tuple[str, str], ...], size: float) -> float:
    return float(sum(pdfmetrics.stringWidth(part, name, size) for name, part in pieces))


def _cut(text: str, size: float, most: float, font: str) -> str:
    """As much of the beginning as fits with an ellipsis, by halving."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if _width(_pieces(text[:middle] + CUT, font), size) <= most:
            low = middle
        else:
            high = middle - 1
    return text[:low] + CUT
