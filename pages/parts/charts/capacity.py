"""How full the cluster was: what there was to use in each piece of time, and how it was split up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bokeh.models import ColumnDataSource

from pages.parts.charts import buckets
from pages.parts.charts.amounts import plain
from pages.parts.charts.chart import Cell, Chart, Key, NothingToDraw, Twin, blank, mark, shaded, touchable
from pages.parts.charts.look import Look

PARTS = (
    ("allocated", "allocated"),
    ("planned", "planned for a job"),
    ("idle", "idle"),
    ("planned_down", "in maintenance"),
    ("down", "down"),
)


@dataclass(frozen=True)
class Piece:
    """One bucket: hours of the TRES (CPU hours, GPU hours) by what became of them. `label`: the bucket's."""

    label: str
    hours: dict[str, float]

    @property
    def whole(self) -> float:
        return sum(self.hours.get(name, 0.0) for name, _ in PARTS)


@dataclass(frozen=True)
class Record:
    """What Slurm recorded of [since, until), in pieces of one grain. `tres`: CPU or GPU; `seen_s`: until when the
    accounts are known."""

    pieces: Sequence[Piece]
    grain: str
    zone: str
    since_s: int
    until_s: int
    tres: str
    seen_s: int | None


def capacity(record: Record, look: Look) -> Chart:
    """Bars to 100 % for each bucket of which something is known. Raises NothingToDraw."""
    known = {piece.label: piece for piece in record.pieces if piece.whole > 0}
    grain, zone, tres, seen_s = record.grain, record.zone, record.tres, record.seen_s
    if not known:
        raise NothingToDraw(f"There is no record by Slurm of the cluster’s {record.tres}s in this window.")
    stretches = buckets.of(grain, zone, record.since_s, record.until_s)
    height = 280 if look.narrow else 320
    made = blank(look, height, (-0.5, len(stretches) - 0.5), (0, 100))
    mark(made.yaxis[0], [0, 25, 50, 75, 100], {place: f"{place} %" for place in (0, 25, 50, 75, 100)})
    starts = [stretch.from_s for stretch in stretches]
    marks = buckets.labels(grain, starts, zone, max(3, look.width // (62 if grain != "hour" else 74)))
    mark(made.xaxis[0], [float(index) for index in marks], {float(index): text for index, text in marks.items()})
    colours = {
        "allocated": look.accent, "planned": look.series[4], "idle": look.line, "planned_down": look.rest,
        "down": look.series[5],
    }  # fmt: skip
    many = len(stretches) > max(40, look.width // 9)
    half = 0.5 if many else 0.41
    columns: dict[str, list[Any]] = {
        name: [] for name in ("left", "right", "bottom", "top", "colour", "hatch", "tip_head", "tip_body", "cell")
    }
    for index, stretch in enumerate(stretches):
        piece = known.get(stretch.label)
        if piece is None:
            continue
        floor = 0.0
        when = buckets.name(grain, stretch.from_s, zone)
        for part, words in PARTS:
            share = 100 * piece.hours.get(part, 0.0) / piece.whole
            if share <= 0:
                continue
            columns["left"].append(index - half)
            columns["right"].append(index + half)
            columns["bottom"].append(floor)
            floor += share
            columns["top"].append(floor)
            columns["colour"].append(colours[part])
            columns["hatch"].append("right_diagonal_line" if part == "down" else " ")
            columns["tip_head"].append(f"{words} · {share:.1f} % ({plain(piece.hours[part])} {tres} hours)")
            columns["tip_body"].append(when)
            columns["cell"].append(None)
    source = ColumnDataSource(columns)
    drawn = made.quad(
        left="left", right="right", bottom="bottom", top="top", fill_color="colour", source=source,
        line_color=look.ground, line_width=0 if many else 0.5, hatch_pattern="hatch", hatch_color=look.ground,
        hatch_alpha=0.5, hatch_scale=8, hover_fill_color="colour", hover_fill_alpha=0.8, hover_line_color=look.strong,
    )  # fmt: skip
    touchable(made, source, look, drawn)
    shaded(made, starts, seen_s, look)
    sums = {part: sum(piece.hours.get(part, 0.0) for piece in known.values()) for part, _ in PARTS}
    whole = sum(sums.values())
    shown = [(part, words) for part, words in PARTS if sums[part] > 0]
    spoken = ", ".join(f"{100 * sums[part] / whole:.1f} % {words}" for part, words in shown)
    return Chart(
        kind="capacity",
        figure=made,
        height=height,
        name=f"The cluster’s {tres}s in this window: {spoken}. The table holds every figure.",
        legend=tuple(Key(f"{words} {100 * sums[part] / whole:.1f} %", colours[part]) for part, words in shown),
        twin=Twin(
            (
                (grain.capitalize(), False),
                *((words.capitalize(), True) for _, words in shown),
                (f"{tres} hours in all", True),
            ),
            tuple(
                (
                    Cell(buckets.name(grain, stretch.from_s, zone), stretch.from_s),
                    *(_share(known.get(stretch.label), part) for part, _ in shown),
                    Cell(plain(piece.whole), piece.whole) if (piece := known.get(stretch.label)) else Cell("–"),
                )
                for stretch in stretches
            ),
        ),
        notes=("Slurm’s own hourly record of the whole cluster, every user’s jobs together.",),
    )  # fmt: skip


def _share(piece: Piece | None, part: str) -> Cell:
    if piece is None:
        return Cell("–")
    share = 100 * piece.hours.get(part, 0.0) / piece.whole
    return Cell(f"{share:.1f} %", share)
