"""Drawings as SVG text: the lineage graph, and before/after figures with their intervals.

Deterministic: coordinates follow from the values and their order alone. Legible without colour and without a style sheet:
shape, dash and words carry the meaning; a page may restyle by class. All text from outside is escaped.
"""

import math
from collections.abc import Callable
from html import escape

from peft_registry.registry.reports.text import number, share
from peft_registry.schemas.identity import Digest
from peft_registry.schemas.lineage import Lineage, LineageNode
from peft_registry.schemas.report import Bar, Curve, Flow, Spread

NODE_WIDTH, NODE_HEIGHT = 208, 62
GAP_X, GAP_Y = 72, 22
MARGIN = 12
MAX_NODES = 60  # a drawing of more is no longer read; the rest stays in `registry lineage`

_CHART_WIDTH = 980
_LABEL_WIDTH, _VALUE_WIDTH = 320, 150
_ROW = 46
_Scale = Callable[[float], float]  # a value of the axis to its x coordinate
_STYLE = 'font-family="system-ui, sans-serif" font-size="12" fill="currentColor"'


def lineage_drawing(lineage: Lineage) -> str:
    """The graph from left to right: what went in on the left, the focus framed twice, what came of it on the right."""
    nodes = _nearest(lineage)
    places = _places(lineage, nodes)
    width = max(x for x, _ in places.values()) + NODE_WIDTH + MARGIN if places else 2 * MARGIN
    height = max(y for _, y in places.values()) + NODE_HEIGHT + MARGIN if places else 2 * MARGIN
    edges = [
        _edge(places[edge.source], places[edge.target], edge.role, places)
        for edge in lineage.edges
        if edge.source in places and edge.target in places
    ]
    boxes = [_box(node, places[node.digest], focus=node.digest == lineage.focus) for node in nodes]
    left_out = len(lineage.nodes) - len(nodes) + lineage.rest
    more = f" {left_out} more are not drawn." if left_out else ""
    title = f"Lineage: {len(nodes)} artifacts and data files, sources on the left.{more}"
    return _svg(width, height, title, [*edges, *boxes])


def interval_drawing(bars: tuple[Bar, ...]) -> str:
    """One row for each bar: before (hollow, dashed) above after (filled), with intervals and the neutral line.

    The bars share one unit and one neutral point; callers make one drawing for each.
    """
    low, high = _domain(bars)
    left, right = _LABEL_WIDTH, _CHART_WIDTH - _VALUE_WIDTH
    height = 58 + _ROW * len(bars)

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    axis = [_tick(x(tick), tick, bars[0].unit, height) for tick in _ticks(low, high)]
    neutral = bars[0].neutral
    line = [] if neutral is None else [_neutral(x(neutral), height)]
    rows = [_row(bar, 40 + _ROW * index, x) for index, bar in enumerate(bars)]
    title = f"Before and after, {bars[0].unit}, with 95 % intervals where there are any"
    return _svg(_CHART_WIDTH, height, title, [_legend(bars), *axis, *line, *rows])


def flow_drawing(flow: Flow) -> str:
    """What became of the items: states before on the left, after on the right, a ribbon for each move as wide as its count."""
    total = max(1, sum(count for _, _, count in flow.moves))
    scale = _FLOW_HEIGHT / total
    befores, afters = ([move[side] for move in flow.moves] for side in (0, 1))
    left, right = (_stacked(flow, side, scale) for side in (0, 1))
    height = _FLOW_TOP + _FLOW_HEIGHT + _FLOW_GAP * max(len(set(befores)), len(set(afters))) + MARGIN
    used: dict[tuple[int, str], float] = {}
    ribbons = []
    for before, after, count in flow.moves:
        tops = []
        for side, (name, places) in enumerate(((before, left), (after, right))):
            tops.append(places[name][0] + used.get((side, name), 0.0))
            used[side, name] = used.get((side, name), 0.0) + count * scale
        ribbons.append(_ribbon(tops[0], tops[1], count * scale, f"{before} → {after}: {count}", before == after))
    blocks = [
        _block(x, anchor, name, places[name], count)
        for x, anchor, places, counts in (
            (_FLOW_LEFT, "end", left, _counts(flow, 0)),
            (_FLOW_RIGHT, "start", right, _counts(flow, 1)),
        )
        for name, count in counts.items()
    ]
    head = (
        f'<text x="{MARGIN}" y="16">{escape(_cut(flow.label, 18))}</text>'
        f'<text x="{_FLOW_LEFT}" y="16" text-anchor="end" font-weight="600">before</text>'
        f'<text x="{_FLOW_RIGHT + 14}" y="16" font-weight="600">after</text>'
    )
    title = f"{flow.label}: what became of {total} items, state before to state after"
    return _svg(_FLOW_WIDTH, height, title, [head, *ribbons, *blocks])


def spread_drawing(spread: Spread) -> str:
    """How the margins lie before (outline, dashed) and after (filled); the dead band is between the two lines."""
    tallest = max((*spread.before, *spread.after, 1))
    width = (_CHART_WIDTH - 2 * MARGIN) / len(spread.before)

    def x(value: float) -> float:
        return MARGIN + (value - spread.low) / (spread.high - spread.low) * (_CHART_WIDTH - 2 * MARGIN)

    def bars(counts: tuple[int, ...], look: str) -> list[str]:
        return [
            f'<rect x="{MARGIN + place * width:.1f}" y="{150 - 110 * count / tallest:.1f}" width="{width - 2:.1f}"'
            f' height="{110 * count / tallest:.1f}" {look}><title>{count} items</title></rect>'
            for place, count in enumerate(counts)
            if count
        ]

    after = bars(spread.after, 'class="after" fill="currentColor" fill-opacity="0.35"')
    before = bars(spread.before, 'class="before" fill="none" stroke="currentColor" stroke-dasharray="4 3"')
    band = [
        f'<line class="band" x1="{x(end):.1f}" y1="30" x2="{x(end):.1f}" y2="150" stroke="currentColor" stroke-width="1.5"/>'
        for end in (-spread.band, spread.band)
        if spread.low <= end <= spread.high
    ]
    ticks = [
        f'<text x="{x(tick):.1f}" y="168" text-anchor="middle" font-size="11">{number(tick)}</text>'
        for tick in _ticks(spread.low, spread.high)
    ]
    words = (
        f"{spread.label}, {spread.unit}: dashed before, filled after; right of 0 the stereotyping option is preferred, "
        "which counts beyond the lines"
    )
    head = f'<text x="{MARGIN}" y="16">{escape(words)}</text>'
    title = f"{spread.label}: margins before and after in {spread.unit}"
    return _svg(_CHART_WIDTH, 178, title, [head, *after, *before, *band, *ticks])


def curve_drawing(curve: Curve) -> str:
    """A line through the values, steps to the right."""
    steps, values = curve.steps, curve.values
    low, high = min(values), max(values)
    margin = (high - low) * 0.1 or abs(high) * 0.1 or 1.0
    low, high = low - margin, high + margin
    left = 60
    right = _CHART_WIDTH - MARGIN
    top = 30
    bottom = 190
    width = max(steps[-1] - steps[0], 1)

    def x(step: float) -> float:
        return left + (step - steps[0]) / width * (right - left)

    def y(value: float) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    across = [
        f'<g class="tick"><line x1="{left}" y1="{y(tick):.1f}" x2="{right}" y2="{y(tick):.1f}" stroke="currentColor"'
        f' stroke-opacity="0.15"/><text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end" font-size="11">'
        f"{number(tick)}</text></g>"
        for tick in _ticks(low, high)
    ]
    along = [
        f'<text x="{x(tick):.1f}" y="{bottom + 18}" text-anchor="middle" font-size="11">{number(tick)}</text>'
        for tick in _ticks(steps[0], steps[0] + width)
        if tick == int(tick)
    ]
    line = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in zip(steps, values, strict=True))
    path = f'<polyline class="after" points="{line}" fill="none" stroke="currentColor" stroke-width="1.8"/>'
    head = f'<text x="{MARGIN}" y="16">{escape(curve.label)}, {escape(curve.unit)}, by step of the optimizer</text>'
    title = (
        f"{curve.label}, {curve.unit}: {number(values[0])} at step {steps[0]}, {number(values[-1])} at step {steps[-1]}"
    )
    return _svg(_CHART_WIDTH, bottom + 28, title, [head, *across, *along, path])


def bar_groups(bars: tuple[Bar, ...]) -> tuple[tuple[Bar, ...], ...]:
    """Bars of one unit and one neutral point together, in the order in which each first appears."""
    groups: dict[tuple[str, float | None], list[Bar]] = {}
    for bar in bars:
        groups.setdefault((bar.unit, bar.neutral), []).append(bar)
    return tuple(tuple(group) for group in groups.values())


def figure_text(value: float, unit: str) -> str:
    """A figure in the unit of its bar: shares as percent."""
    return share(value) if unit == "share of items" else number(value)


# --- flows ---

_FLOW_WIDTH = 620
_FLOW_HEIGHT = 200
_FLOW_TOP = 28
_FLOW_GAP = 10
_FLOW_LEFT, _FLOW_RIGHT = 170, 436  # x of the blocks
_BLOCK = 14


def _counts(flow: Flow, side: int) -> dict[str, int]:
    """The items in each state on one side, in the order of the states."""
    counts: dict[str, int] = {}
    for move in flow.moves:
        name = move[0] if side == 0 else move[1]
        counts[name] = counts.get(name, 0) + move[2]
    return {name: counts[name] for name in flow.states if name in counts}


def _stacked(flow: Flow, side: int, scale: float) -> dict[str, tuple[float, float]]:
    """(top, height) of each state's block."""
    top, places = float(_FLOW_TOP), {}
    for name, count in _counts(flow, side).items():
        places[name] = (top, count * scale)
        top += count * scale + _FLOW_GAP
    return places


def _ribbon(left: float, right: float, height: float, title: str, stays: bool) -> str:
    x1, x2 = _FLOW_LEFT + _BLOCK, _FLOW_RIGHT
    half = (x2 - x1) // 2
    return (
        f'<path class="flow" d="M{x1} {left:.1f} C{x1 + half} {left:.1f} {x2 - half} {right:.1f} {x2} {right:.1f}'
        f' v{height:.1f} C{x2 - half} {right + height:.1f} {x1 + half} {left + height:.1f} {x1} {left + height:.1f} z"'
        f' fill="currentColor" fill-opacity="{0.1 if stays else 0.3}"><title>{escape(title)}</title></path>'
    )


def _block(x: int, anchor: str, name: str, place: tuple[float, float], count: int) -> str:
    top, height = place
    at = x - 8 if anchor == "end" else x + _BLOCK + 8
    return (
        f'<rect x="{x}" y="{top:.1f}" width="{_BLOCK}" height="{max(height, 1):.1f}" fill="currentColor"/>'
        f'<text x="{at}" y="{top + height / 2 + 4:.1f}" text-anchor="{anchor}">{escape(name)} {count}</text>'
    )


# --- the lineage graph ---

_Places = dict[Digest, tuple[int, int]]


def _nearest(lineage: Lineage) -> tuple[LineageNode, ...]:
    """The nodes nearest to the focus, at most MAX_NODES, in the order of the lineage."""
    near: dict[Digest, set[Digest]] = {}
    for edge in lineage.edges:
        near.setdefault(edge.source, set()).add(edge.target)
        near.setdefault(edge.target, set()).add(edge.source)
    order = [node.digest for node in lineage.nodes]
    kept = [lineage.focus]
    ring = [lineage.focus]  # the nodes that are as many edges away from the focus
    while ring and len(kept) < MAX_NODES:
        reached = {neighbour for digest in ring for neighbour in near.get(digest, set())} - set(kept)
        ring = [digest for digest in order if digest in reached][: MAX_NODES - len(kept)]
        kept += ring
    return tuple(node for node in lineage.nodes if node.digest in kept)


def _places(lineage: Lineage, nodes: tuple[LineageNode, ...]) -> _Places:
    """Columns by the longest way from a source; a source stands just left of its first target."""
    drawn = {node.digest for node in nodes}
    edges = [edge for edge in lineage.edges if edge.source in drawn and edge.target in drawn]
    column: dict[Digest, int] = {node.digest: 0 for node in nodes}
    for node in nodes:  # topological order: sources first
        column[node.digest] = max((column[edge.source] + 1 for edge in edges if edge.target == node.digest), default=0)
    targets = {edge.target for edge in edges}
    for node in nodes:
        following = [column[edge.target] for edge in edges if edge.source == node.digest]
        if node.digest not in targets and following:
            column[node.digest] = min(following) - 1
    rows: dict[int, list[Digest]] = {}
    for node in nodes:
        rows.setdefault(column[node.digest], []).append(node.digest)
    tallest = max((len(row) for row in rows.values()), default=0)
    places: _Places = {}
    for at, row in rows.items():
        top = MARGIN + (tallest - len(row)) * (NODE_HEIGHT + GAP_Y) // 2
        for index, digest in enumerate(row):
            places[digest] = (MARGIN + at * (NODE_WIDTH + GAP_X), top + index * (NODE_HEIGHT + GAP_Y))
    return places


def _edge(source: tuple[int, int], target: tuple[int, int], role: str, places: _Places) -> str:
    x1, y1 = source[0] + NODE_WIDTH, source[1] + NODE_HEIGHT // 2
    x2, y2 = target[0], target[1] + NODE_HEIGHT // 2
    curve = f"M{x1} {y1}"
    between = [place for place in places.values() if x1 < place[0] < x2]
    if between:  # above the columns that it passes, not behind their boxes
        first, last = min(x for x, _ in between), max(x for x, _ in between) + NODE_WIDTH
        lane, half = min(y for _, y in between) - GAP_Y // 2, (first - x1) // 2
        curve += f" C{x1 + half} {y1} {first - half} {lane} {first} {lane} H{last}"
        x1, y1 = last, lane
    half = (x2 - x1) // 2
    dash = ' stroke-dasharray="5 4"' if role == "data" else ""
    return (
        f'<g class="edge"><title>{escape(role)}</title>'
        f'<path d="{curve} C{x1 + half} {y1} {x2 - half} {y2} {x2 - 8} {y2}" fill="none" stroke="currentColor"'
        f' stroke-opacity="0.6" stroke-width="1.5"{dash}/>'
        f'<path d="M{x2} {y2} l-9 -4.5 v9 z" fill="currentColor" fill-opacity="0.6"/></g>'
    )


def _box(node: LineageNode, place: tuple[int, int], *, focus: bool) -> str:
    x, y = place
    radius = 16 if node.kind == "data" else 4
    dash = "" if node.registered else ' stroke-dasharray="4 3"'
    kind = node.kind if node.registered or node.kind == "data" else f"{node.kind}, by digest only"
    frame = (
        f'<rect x="{x - 4}" y="{y - 4}" width="{NODE_WIDTH + 8}" height="{NODE_HEIGHT + 8}" rx="{radius + 4}"'
        ' fill="none" stroke="currentColor" stroke-width="1"/>'
        if focus
        else ""
    )
    detail = f" · {node.detail}" if node.detail else ""
    return (
        f'<g class="node {node.kind}{" focus" if focus else ""}"><title>{escape(f"{node.label}: {kind}, {node.digest}")}'
        f"</title>{frame}"
        f'<rect x="{x}" y="{y}" width="{NODE_WIDTH}" height="{NODE_HEIGHT}" rx="{radius}" fill="none"'
        f' stroke="currentColor" stroke-width="{2 if focus else 1}"{dash}/>'
        f'<text x="{x + 12}" y="{y + 20}" font-weight="600" font-size="13">{escape(_cut(node.label, 25))}</text>'
        f'<text x="{x + 12}" y="{y + 37}">{escape(_cut(kind + detail, 31))}</text>'
        f'<text x="{x + 12}" y="{y + 53}" font-family="ui-monospace, monospace" font-size="11">{node.digest.short}</text></g>'
    )


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


# --- before and after ---


def _domain(bars: tuple[Bar, ...]) -> tuple[float, float]:
    """The range of the axis: 0 … 1 for shares, else all ends with a margin."""
    ends = [
        end
        for bar in bars
        for end in (
            bar.before,
            bar.after,
            bar.before_low,
            bar.before_high,
            bar.after_low,
            bar.after_high,
            bar.neutral,
        )
        if end is not None
    ]
    low, high = min(ends), max(ends)
    if bars[0].unit == "share of items" and low >= 0 and high <= 1:
        return 0.0, 1.0
    margin = (high - low) * 0.15 or abs(high) * 0.1 or 1.0
    return low - margin, high + margin


def _ticks(low: float, high: float) -> tuple[float, ...]:
    """Round numbers inside the range, four to ten of them."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return tuple(round((first + index) * step, 10) for index in range(int((high + 1e-9 * step) / step) - first + 1))


def _tick(x: float, value: float, unit: str, height: int) -> str:
    text = f"{round(100 * value)} %" if unit == "share of items" else number(value)
    return (
        f'<g class="tick"><line x1="{x:.1f}" y1="32" x2="{x:.1f}" y2="{height - 22}" stroke="currentColor"'
        f' stroke-opacity="0.15"/><text x="{x:.1f}" y="{height - 7}" text-anchor="middle" font-size="11">{text}</text></g>'
    )


def _neutral(x: float, height: int) -> str:
    return (
        f'<g class="neutral"><title>neutral point</title><line x1="{x:.1f}" y1="28" x2="{x:.1f}" y2="{height - 22}"'
        f' stroke="currentColor" stroke-width="1.5" stroke-dasharray="2 3"/>'
        f'<text x="{x:.1f}" y="23" text-anchor="middle" font-size="11">neutral</text></g>'
    )


def _legend(bars: tuple[Bar, ...]) -> str:
    return (
        f'<g class="legend"><circle class="before" cx="8" cy="12" r="4.5" fill="none" stroke="currentColor"'
        f' stroke-width="1.8"/><text x="18" y="16">before</text><circle class="after" cx="74" cy="12" r="4.5"'
        f' fill="currentColor"/><text x="84" y="16">after</text><text x="{_CHART_WIDTH}" y="16" text-anchor="end">'
        f"{escape(bars[0].unit)}</text></g>"
    )


def _row(bar: Bar, top: int, x: _Scale) -> str:
    above, below = top + 12, top + 26
    values = (figure_text(bar.before, bar.unit), figure_text(bar.after, bar.unit))
    title = f"{bar.label}: before {values[0]}, after {values[1]}, n = {bar.n}"
    name, _, words = bar.label.partition(": ")
    return (
        f'<g class="row"><title>{escape(title)}</title>'
        f'<text x="0" y="{top + 16}">{escape(_cut(words or name, 48))}</text>'
        f'<text x="0" y="{top + 31}" font-size="11" fill-opacity="0.75">{escape(_cut(name, 40))}, n = {bar.n}</text>'
        f'<line class="link" x1="{x(bar.before):.1f}" y1="{above}" x2="{x(bar.after):.1f}" y2="{below}"'
        ' stroke="currentColor" stroke-opacity="0.4"/>'
        f'<g class="before">{_interval(bar.before_low, bar.before_high, above, x, dash=True)}'
        f'<circle cx="{x(bar.before):.1f}" cy="{above}" r="4.5" fill="Canvas" stroke="currentColor" stroke-width="1.8"/></g>'
        f'<g class="after">{_interval(bar.after_low, bar.after_high, below, x, dash=False)}'
        f'<circle cx="{x(bar.after):.1f}" cy="{below}" r="4.5" fill="currentColor"/></g>'
        f'<text x="{_CHART_WIDTH}" y="{top + 23}" text-anchor="end">{escape(values[0])} → {escape(values[1])}</text></g>'
    )


def _interval(low: float | None, high: float | None, y: int, x: _Scale, *, dash: bool) -> str:
    if low is None or high is None:
        return ""
    dashes = ' stroke-dasharray="4 3"' if dash else ""
    ends = "".join(f"M{x(end):.1f} {y - 3} v6" for end in (low, high))
    return (
        f'<path d="M{x(low):.1f} {y} H{x(high):.1f}" stroke="currentColor" stroke-width="1.6"{dashes}/>'
        f'<path d="{ends}" stroke="currentColor" stroke-width="1.6"/>'
    )


def _svg(width: float, height: float, title: str, parts: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
        f' role="img" aria-label="{escape(title)}" {_STYLE}><title>{escape(title)}</title>{"".join(parts)}</svg>'
    )
