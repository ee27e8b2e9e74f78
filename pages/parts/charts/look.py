"""What a chart is drawn in: the theme's colours as plain values, since a canvas knows no style sheet."""

from __future__ import annotations

from dataclasses import dataclass

# Told apart by people who see red and green alike (Okabe and Ito, 2008), darkened or lightened for the ground.
_LIGHT = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#6a3d9a", "#8c8c2a")
_DARK = ("#4fa3e0", "#f0b429", "#2fbf95", "#e29bc0", "#8fd0f5", "#f0803c", "#a98be0", "#b9b34f")
SERIES = len(_LIGHT)  # the others are drawn together, in grey

# From little to much, one hue: readable in grey, too.
_LIGHT_SCALE = ("#f0f3fb", "#d3dcf6", "#a9bbee", "#7d97e3", "#5474d4", "#3150c9", "#1f3590")
_DARK_SCALE = ("#1e2433", "#26345c", "#2f4685", "#3e5db0", "#5c7cd6", "#8fa8ff", "#c9d5ff")


@dataclass(frozen=True)
class Look:
    """`width`: the pixels there are, for what has to be laid out by hand; `alone`: the chart stands in another page,
    without the console's own legend and tips."""

    dark: bool = False
    width: int = 900
    alone: bool = False

    @property
    def narrow(self) -> bool:
        return self.width < 560

    @property
    def series(self) -> tuple[str, ...]:
        return _DARK if self.dark else _LIGHT

    @property
    def scale(self) -> tuple[str, ...]:
        return _DARK_SCALE if self.dark else _LIGHT_SCALE

    @property
    def rest(self) -> str:
        return "#5a6475" if self.dark else "#b4bac6"

    @property
    def ink(self) -> str:
        return "#b6bdca" if self.dark else "#4a5261"

    @property
    def strong(self) -> str:
        return "#e9ecf2" if self.dark else "#171a21"

    @property
    def line(self) -> str:
        return "#2a303c" if self.dark else "#e0e3e9"

    @property
    def ground(self) -> str:
        return "#181c24" if self.dark else "#ffffff"

    @property
    def accent(self) -> str:
        return "#8fa8ff" if self.dark else "#3150c9"

    @property
    def soft(self) -> str:
        return "#22305a" if self.dark else "#e9eefc"


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on the colour (WCAG's relative luminance)."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#101319" if luminance > 0.18 else "#ffffff"
