"""A chart with all that belongs to it: the figure, its legend, its table twin, and its words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bokeh.embed import json_item
from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, Range1d, TapTool
from bokeh.models.annotations import BoxAnnotation
from bokeh.plotting import figure

from pages.parts.charts.look import Look

Place = Mapping[str, str | int | None]  # dimension to value: a cell of the answer, whose jobs can be listed
FONT = "Roboto, 'Segoe UI', 'Helvetica Neue', sans-serif"
NOTHING = "There is nothing of it in this window. Choose a longer one, or take a filter away."
MARKS = "marks"  # the source whose selection the browser listens to


class NothingToDraw(ValueError):
    """The answer holds nothing that this chart can show; the message says why, for a person."""


@dataclass(frozen=True)
class Key:
    """One entry of the legend."""

    name: str
    colour: str
    place: Place | None = None
    dashed: bool = False


@dataclass(frozen=True)
class Cell:
    """One cell of the twin: as it reads, as it sorts, and the jobs behind it."""

    text: str
    value: float | int | str | None = None
    place: Place | None = None


@dataclass(frozen=True)
class Twin:
    """The same figures as a table. `heads`: title and whether the column holds numbers."""

    heads: tuple[tuple[str, bool], ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Chart:
    """`name` is what a reader of the screen hears; `legend` is drawn by the page, not on the canvas."""

    kind: str
    figure: figure
    name: str
    height: int
    twin: Twin
    legend: tuple[Key, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)

    def item(self) -> dict[str, Any]:
        """What `Bokeh.embed.embed_item` takes. Without the models of Panel, of which a figure has none."""
        made: dict[str, Any] = dict(json_item(self.figure))
        made["doc"]["defs"] = []
        return made

    def message(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "kind": self.kind,
            "item": self.item(),
            "name": self.name,
            "height": self.height,
            "notes": list(self.notes),
            "legend": [
                {"name": key.name, "colour": key.colour, "cell": named(key.place), "dashed": key.dashed}
                for key in self.legend
            ],
            "twin": {
                "heads": [list(head) for head in self.twin.heads],
                "rows": [[[cell.text, cell.value, named(cell.place)] for cell in row] for row in self.twin.rows],
            },
        }


def named(place: Place | None) -> str | None:
    """A cell's address as text, for the browser to hand back."""
    return None if place is None else json.dumps(dict(place), ensure_ascii=False, separators=(",", ":"))


def blank(look: Look, height: int, x: tuple[float, float], y: tuple[float, float], **options: Any) -> figure:
    """A figure in the console's look: no tools to learn, no frame, quiet grid."""
    made = figure(
        height=height,
        width=look.width,
        sizing_mode="stretch_width",
        x_range=Range1d(start=x[0], end=x[1]),
        y_range=Range1d(start=y[0], end=y[1]),
        toolbar_location=None,
        tools="",
        output_backend="canvas",
        **options,
    )
    made.background_fill_color = None
    made.border_fill_color = None
    made.outline_line_color = None
    made.min_border_left = made.min_border_right = 8
    made.min_border_top = 12
    made.min_border_bottom = 8
    for axis in made.axis:
        axis.axis_line_color = look.line
        axis.major_tick_line_color = None
        axis.minor_tick_line_color = None
        axis.major_label_text_color = look.ink
        axis.major_label_text_font = FONT
        axis.major_label_text_font_size = "12px"
        axis.axis_label_text_color = look.ink
        axis.axis_label_text_font = FONT
        axis.axis_label_text_font_size = "12px"
        axis.axis_label_text_font_style = "normal"
    made.yaxis.axis_line_color = None
    made.xgrid.grid_line_color = None
    made.ygrid.grid_line_color = look.line
    return made


def mark(axis: Any, places: list[float], names: Mapping[float, str]) -> None:
    """Fixed marks with these labels."""
    axis.ticker = FixedTicker(ticks=places)
    axis.major_label_overrides = dict(names)


def shaded(made: figure, starts: Sequence[int], seen_s: int | None, look: Look) -> None:
    """What has not happened yet is not empty: a ground of its own behind the buckets after `seen_s`."""
    ahead = [index for index, start in enumerate(starts) if seen_s is not None and start > seen_s]
    if ahead and len(ahead) < len(starts):
        made.add_layout(
            BoxAnnotation(left=ahead[0] - 0.5, fill_color=look.line, fill_alpha=0.45, line_color=None, level="underlay")
        )


def touchable(made: figure, source: ColumnDataSource, look: Look, *renderers: Any) -> None:
    """Marks that tell about themselves and can be opened: the source has `tip_head`, `tip_body` and `cell`."""
    source.name = MARKS
    for renderer in renderers:
        renderer.nonselection_glyph = None
        renderer.selection_glyph = None
    tips = [("", "@tip_head"), ("", "@tip_body")] if look.alone else None
    made.add_tools(HoverTool(renderers=list(renderers), tooltips=tips, point_policy="follow_mouse"))
    if not look.alone:
        made.add_tools(TapTool(renderers=list(renderers)))
