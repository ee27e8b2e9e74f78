"""Which part of the organisation used it: the account tree as nested areas, each as large as its share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bokeh.core.properties import value as fixed
from bokeh.models import ColumnDataSource

from backend.accounting.usage import Answer
from pages.parts.charts.amounts import amount, stacks
from pages.parts.charts.chart import FONT, NOTHING, Cell, Chart, NothingToDraw, Twin, blank, named, touchable
from pages.parts.charts.groups import called
from pages.parts.charts.look import Look, ink_on

HEAD_PX = 20  # of an account that has others below it
LETTER_PX = 6.6
SMALLEST_PX = 5  # less can't be hit with a finger or seen
COLUMNS = ("left", "right", "top", "bottom", "colour", "ink", "text", "x", "y", "tip_head", "tip_body", "cell")
BELOW = "~below"  # in a cell's address: this account and all below it


@dataclass
class Node:
    """An account with what is below it. `own`: used under its very name."""

    name: str
    value: str | None  # as answers have it; None for jobs without an account
    own: float = 0.0
    below: list[Node] = field(default_factory=list)

    @property
    def whole(self) -> float:
        return self.own + sum(node.whole for node in self.below)


@dataclass(frozen=True)
class Area:
    """A rectangle in pixels from the upper left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Tile:
    node: Node
    path: tuple[str, ...]
    area: Area
    colour: int  # of the branch
    depth: int
    branch: bool  # drawn with a head, others inside


def tree(answer: Answer, look: Look, title: str = "", parents: Mapping[str, str | None] | None = None) -> Chart:
    """`answer` by account. `parents`: each account's, where it is known. Raises NothingToDraw."""
    metric = answer.question.metrics[0]
    title = title or metric
    if not stacks(metric):
        raise NothingToDraw(f"{title} can’t be added up over accounts. Choose an amount, such as CPU hours.")
    sums = {
        row["account"]: float(row[metric])
        for row in answer.table.to_pylist()
        if row[metric] is not None and math.isfinite(row[metric]) and row[metric] > 0
    }
    if not sums:
        raise NothingToDraw(NOTHING)
    roots = grow(sums, parents or {})
    width, height = _size(look)
    tiles: list[Tile] = []
    _place(roots, Area(0, 0, width, height), (), tiles)
    return _drawn(tiles, roots, metric, title, look)


def _size(look: Look) -> tuple[int, int]:
    return max(240, look.width - 16), 420 if look.narrow else 380


def grow(sums: Mapping[Any, float], parents: Mapping[str, str | None]) -> list[Node]:
    """The tree above these accounts, without the root that all share."""
    nodes: dict[Any, Node] = {}

    def node(name: Any) -> Node:
        if name not in nodes:
            nodes[name] = Node(called("account", name), name)
        return nodes[name]

    roots: list[Node] = []
    hung: set[Any] = set()

    def hang(name: Any) -> None:
        seen: set[Any] = set()
        while name not in hung and name not in seen:
            seen.add(name)
            hung.add(name)
            parent = parents.get(name) if name else None
            if not parent or parent == name or parent in seen:
                roots.append(node(name))
                return
            node(parent).below.append(node(name))
            name = parent

    for name, value in sums.items():
        node(name).own = value
        hang(name)
    # Slurm hangs everything below `root`: that says nothing, and would take the colours away from what it holds.
    while lone := next((root for root in roots if root.below and (root.value == "root" or len(roots) == 1)), None):
        roots = [root for root in roots if root is not lone] + lone.below
        if lone.own:
            roots.append(Node(lone.name, lone.value, lone.own))
    return roots


def squarify(weights: Sequence[float], area: Area) -> list[Area]:
    """Rectangles of these weights (largest first), as near to squares as a row allows.

    Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000).
    """
    whole = sum(weights)
    if whole <= 0:
        return [Area(area.x, area.y, 0, 0) for _ in weights]
    scale = area.width * area.height / whole
    rest = [weight * scale for weight in weights]
    found: list[Area] = []
    x, y, width, height = area.x, area.y, area.width, area.height
    while rest:
        side = max(min(width, height), 1e-9)
        row = [rest[0]]
        while len(row) < len(rest) and _worst([*row, rest[len(row)]], side) <= _worst(row, side):
            row.append(rest[len(row)])
        thick = sum(row) / side
        at = 0.0
        for size in row:
            long = size / thick if thick else 0.0
            found.append(Area(x, y + at, thick, long) if width >= height else Area(x + at, y, long, thick))
            at += long
        if width >= height:
            x, width = x + thick, max(0.0, width - thick)
        else:
            y, height = y + thick, max(0.0, height - thick)
        rest = rest[len(row) :]
    return found


def _worst(row: Sequence[float], side: float) -> float:
    whole = sum(row)
    return max(max(side * side * size / whole**2, whole**2 / (side * side * size)) for size in row if size > 0)


def _place(nodes: list[Node], area: Area, path: tuple[str, ...], tiles: list[Tile], colour: int | None = None) -> None:
    order = sorted((node for node in nodes if node.whole > 0), key=lambda node: -node.whole)
    for index, (node, part) in enumerate(zip(order, squarify([node.whole for node in order], area), strict=True)):
        hue = index if colour is None else colour
        branch = bool(node.below) and part.height > 2.5 * HEAD_PX and part.width > 60 and len(path) < 4
        tiles.append(Tile(node, (*path, node.name), part, hue, len(path), branch))
        if branch:
            inner = Area(part.x + 3, part.y + HEAD_PX, max(1.0, part.width - 6), max(1.0, part.height - HEAD_PX - 3))
            children = [*node.below, Node(node.name, node.value, node.own)] if node.own else node.below
            _place(children, inner, (*path, node.name), tiles, hue)


def _drawn(tiles: list[Tile], roots: list[Node], metric: str, title: str, look: Look) -> Chart:
    width, height = _size(look)
    made = blank(look, height, (0, width), (height, 0))
    made.axis.visible = False
    made.grid.visible = False
    made.min_border = 0
    whole = sum(node.whole for node in roots)
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for tile in tiles:
        area = tile.area
        if min(area.width, area.height) < SMALLEST_PX and not tile.branch:
            continue
        colour = look.series[tile.colour] if tile.colour < len(look.series) else look.rest
        shade = mixed(colour, look.ground, 0.16 if tile.branch else 0.82 if tile.depth == 0 else 0.66)
        own = not tile.branch and tile.path[-2:-1] == (tile.node.name,)
        for name, value in (
            ("left", area.x + 1), ("right", area.x + area.width - 1), ("top", area.y + 1),
            ("bottom", area.y + area.height - 1), ("colour", shade), ("ink", ink_on(shade)),
            ("text", _label(tile, metric)), ("x", area.x + 6), ("y", area.y + 4),
            ("tip_head", f"{tile.node.name}{' itself' if own else ''} · {amount(tile.node.whole, metric)}"),
            ("tip_body", f"{100 * tile.node.whole / whole:.1f} % · {' › '.join(tile.path[:-1]) or 'top of the tree'}"),
            ("cell", named({"account": tile.node.value, **({} if own or not tile.node.below else {BELOW: 1})})),
        ):  # fmt: skip
            columns[name].append(value)
    source = ColumnDataSource(columns)
    drawn = made.quad(
        left="left", right="right", top="top", bottom="bottom", fill_color="colour", line_color=None, source=source,
        hover_fill_color="colour", hover_fill_alpha=0.85, hover_line_color=look.strong,
    )  # fmt: skip
    touchable(made, source, look, drawn)
    made.text(
        "x", "y", "text", source=source, text_color="ink", text_font=fixed(FONT), text_font_size="12px",
        text_baseline="top", text_line_height=1.25,
    )  # fmt: skip
    leaders = sorted(roots, key=lambda node: -node.whole)[:3]
    words = ", ".join(f"{node.name} {amount(node.whole, metric)}" for node in leaders)
    return Chart(
        kind="tree",
        figure=made,
        height=height,
        name=f"{title} by account, as a tree: {words}. The table holds every figure.",
        twin=Twin(
            (("Account", False), (f"{title}, with all below", True), ("Under its own name", True), ("Share", True)),
            tuple(_rows(roots, metric, whole, 0)),
        ),
    )


def _rows(nodes: list[Node], metric: str, whole: float, depth: int) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for node in sorted(nodes, key=lambda each: -each.whole):
        own = Cell(amount(node.own, metric), node.own, {"account": node.value} if node.own else None)
        rows.append(
            (
                Cell("\u2003" * depth + node.name, node.name),
                Cell(
                    amount(node.whole, metric),
                    node.whole,
                    {"account": node.value, **({BELOW: 1} if node.below else {})},
                ),
                own,
                Cell(f"{100 * node.whole / whole:.1f} %", node.whole / whole),
            )
        )
        rows += _rows(node.below, metric, whole, depth + 1)
    return rows


def _label(tile: Tile, metric: str) -> str:
    """As much as fits into the tile; nothing rather than half a word of two letters."""
    room = int((tile.area.width - 12) / LETTER_PX)
    figure = amount(tile.node.whole, metric)
    name = tile.node.name
    if tile.area.height < 18 or room < 3:
        return ""
    if tile.branch:
        both = f"{name}  {figure}"
        return both if len(both) <= room else _cut(name, room)
    text = _cut(name, room)
    return f"{text}\n{figure}" if tile.area.height >= 38 and len(figure) <= room else text


def _cut(name: str, room: int) -> str:
    return name if len(name) <= room else f"{name[: room - 1]}…"


def mixed(colour: str, ground: str, share: float) -> str:
    """The colour laid over the ground with this opacity."""
    parts = [(int(colour[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(over * share + under * (1 - share)):02x}" for over, under in parts)


__all__ = ["BELOW", "Area", "Node", "grow", "mixed", "squarify", "tree"]
