"""Graphs as SVG, drawn without any other program: layers from left to right, few crossings, curves between boxes.

`svg(graph)` is well-formed XML for every text in the graph, and the same text for the same graph. The layout takes time
proportional to nodes plus edges times the layers that they cross. Labels show when the mouse rests on a line.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from ducttape.cli.graph import Graph

_CHARACTER, _LINE, _PADDING = 7.3, 16, 10
_BETWEEN_ROWS, _BETWEEN_LAYERS, _MARGIN = 14, 60, 12
_SWEEPS = 6
# A long edge that only passes a layer takes this much of its height.
_PASSING = 6
_WIDEST = 60
_BARRED = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STYLE = (
    "text{font:12px ui-monospace,Menlo,Consolas,monospace;fill:#1f2328}"
    ".b{font-weight:600}.d{fill:#59636e}"
    "rect{fill:#f6f8fa;stroke:#59636e}"
    "path{fill:none;stroke:#818b98}path:hover{stroke:#0969da;stroke-width:2}"
)


@dataclass(slots=True)
class _Box:
    """A place in a layer; `lines` is empty where a long edge passes. `y` is the middle."""

    lines: tuple[str, ...]
    width: float
    height: float
    layer: int
    y: float = 0.0
    left: dict[int, None] = field(default_factory=dict)
    right: dict[int, None] = field(default_factory=dict)


def svg(graph: Graph) -> str:
    """The drawing."""
    labels: dict[tuple[int, int], list[str]] = {}
    for edge in graph.edges:
        labels.setdefault((edge.source, edge.target), []).append(edge.label)
    boxes, routes = _boxes(graph, labels)
    layers = _ordered(boxes)
    _place(boxes, layers)
    lefts, width = [], float(_MARGIN)
    for layer in layers:
        lefts.append(width)
        width += max((boxes[i].width for i in layer), default=0) + _BETWEEN_LAYERS
    width += _MARGIN - _BETWEEN_LAYERS if layers else _MARGIN
    top = min((box.y - box.height / 2 for box in boxes), default=0) - _MARGIN
    height = max((box.y + box.height / 2 for box in boxes), default=0) + _MARGIN - top
    columns = [max((boxes[i].width for i in layer), default=0) for layer in layers]
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="0 {top:.0f} {width:.0f} {height:.0f}">',
        f"<style>{_STYLE}</style>",
        '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z" style="fill:#818b98;stroke:none"/></marker></defs>',
    ]
    for lines, route in zip(labels.values(), routes, strict=True):
        path, title = _path([boxes[i] for i in route], lefts, columns), _escape("\n".join(lines))
        out.append(f'<path d="{path}" marker-end="url(#a)"><title>{title}</title></path>')
    for node, box in zip(graph.nodes, boxes, strict=False):
        x, y = lefts[box.layer], box.y - box.height / 2
        out.append(
            f"<g><title>{_escape(node.name)}</title>"
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{box.height}" rx="4"/>'
        )
        for number, line in enumerate(box.lines):
            at = y + _PADDING + _LINE * number + 10
            kind = "d" if number else "b"
            out.append(f'<text class="{kind}" x="{x + _PADDING:.1f}" y="{at:.1f}">{_escape(line)}</text>')
        out.append("</g>")
    return "\n".join([*out, "</svg>", ""])


def _boxes(graph: Graph, arrows: Iterable[tuple[int, int]]) -> tuple[list[_Box], list[list[int]]]:
    """A box for each node, then one for each layer that a long arrow passes; and the boxes along each."""
    layer = [0] * len(graph.nodes)
    # Nodes come parents first, so one pass finds the longest way to each.
    inward: dict[int, list[int]] = defaultdict(list)
    for start, end in arrows:
        inward[end].append(start)
    for number in range(len(graph.nodes)):
        layer[number] = max((layer[source] + 1 for source in inward[number]), default=0)
    boxes = []
    for node, at in zip(graph.nodes, layer, strict=True):
        lines = tuple(_short(line) for line in (node.task, node.detail) if line)
        width = max(map(len, lines)) * _CHARACTER + 2 * _PADDING
        boxes.append(_Box(lines, width, len(lines) * _LINE + 2 * _PADDING - 4, at))
    passing: dict[tuple[int, int], int] = {}
    routes = []
    for start, end in arrows:
        route = [start]
        for at in range(layer[start] + 1, layer[end]):
            # Lines from one box share their way until they arrive.
            key = (start, at)
            if key not in passing:
                passing[key] = len(boxes)
                boxes.append(_Box((), 0.0, _PASSING, at))
            route.append(passing[key])
        route.append(end)
        routes.append(route)
        for left, right in zip(route, route[1:], strict=False):
            boxes[left].right[right] = None
            boxes[right].left[left] = None
    return boxes, routes


def _short(line: str) -> str:
    return line if len(line) <= _WIDEST else line[: _WIDEST - 3] + "..."


def _ordered(boxes: list[_Box]) -> list[list[int]]:
    """The boxes of each layer from top to bottom, sorted by the average place of their neighbours, to and fro."""
    layers: list[list[int]] = [[] for _ in range(1 + max((box.layer for box in boxes), default=-1))]
    for number, box in enumerate(boxes):
        layers[box.layer].append(number)
    place = {number: at for layer in layers for at, number in enumerate(layer)}
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for layer in layers if forward else reversed(layers):
            middle = {}
            for number in layer:
                near = boxes[number].left if forward else boxes[number].right
                middle[number] = sum(place[other] for other in near) / len(near) if near else place[number]
            layer.sort(key=middle.__getitem__)
            place.update((number, at) for at, number in enumerate(layer))
    return layers


def _place(boxes: list[_Box], layers: list[list[int]]) -> None:
    """Heights: every box as near to its neighbours as the order of its layer allows."""
    for layer in layers:
        _stack(boxes, layer, [0.0] * len(layer))
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for layer in layers if forward else reversed(layers):
            wanted = []
            for number in layer:
                box = boxes[number]
                near = box.left if forward else box.right
                wanted.append(sum(boxes[other].y for other in near) / len(near) if near else box.y)
            _stack(boxes, layer, wanted)


def _stack(boxes: list[_Box], layer: list[int], wanted: list[float]) -> None:
    bottom, excess = float("-inf"), 0.0
    for number, y in zip(layer, wanted, strict=True):
        box = boxes[number]
        box.y = max(y, bottom + box.height / 2)
        excess += box.y - y
        bottom = box.y + box.height / 2 + _BETWEEN_ROWS
    # Boxes are pushed down only; moving all of them back by the average keeps the drawing from drifting.
    for number in layer:
        boxes[number].y -= excess / len(layer)


def _path(route: list[_Box], lefts: list[float], columns: list[float]) -> str:
    """A smooth line from the right side of the first box to the left side of the last, level across layers."""
    first = route[0]
    x, y = lefts[first.layer] + first.width, first.y
    out = [f"M{x:.1f} {y:.1f}"]
    if first.width < columns[first.layer]:
        x = lefts[first.layer] + columns[first.layer]
        out.append(f"H{x:.1f}")
    for box in route[1:]:
        left = lefts[box.layer]
        middle = (x + left) / 2
        out.append(f"C{middle:.1f} {y:.1f} {middle:.1f} {box.y:.1f} {left:.1f} {box.y:.1f}")
        x, y = left, box.y
        if not box.lines:
            x += columns[box.layer]
            out.append(f"H{x:.1f}")
    return "".join(out)


def _escape(text: str) -> str:
    """Text for XML; characters that XML cannot hold become U+FFFD."""
    text = _BARRED.sub("\ufffd", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
