"""Where time went, from samples of stacks: a table of functions, and a flame graph as one SVG file.

Rules of this module:

- Pure: samples in, text out; the same samples give the same bytes.
- Width is time, depth is calls (Gregg 2016, "The Flame Graph"); a frame is coloured by its file, so that one's own code
  and a library's are told apart. Who reads it needs no script: titles tell each frame's share.
"""

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

type Stacks = Mapping[tuple[str, ...], int]

WIDTH, ROW, HEAD, PAD = 1200, 18, 44, 10
CHAR_WIDTH = 6.7
BOX_WIDTH_MIN = 0.3  # narrower ones are not drawn
HUES = (12, 28, 44, 150, 200, 260, 320)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One function's part of the time: in itself, and with what it calls."""

    function: str
    self_share: float
    total_share: float


@dataclass(slots=True)
class _Node:
    name: str
    count: int = 0
    children: dict[str, "_Node"] = field(default_factory=dict)


def shares(stacks: Stacks, at_most: int) -> list[Share]:
    """The functions in which most samples were, most first; a recursive one counts once a sample."""
    total = sum(stacks.values())
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for stack, count in stacks.items():
        names = [function_of(frame) for frame in stack]
        own[names[-1]] += count
        for name in set(names):
            whole[name] += count
    order = sorted(whole, key=lambda name: (-own[name], -whole[name], name))
    return [
        Share(function=name, self_share=own[name] / total, total_share=whole[name] / total)
        for name in order[:at_most]
    ]


def function_of(frame: str) -> str:
    """ "main.py:7 on_event" without the line: "main.py on_event"."""
    place, _, name = frame.rpartition(" ")
    return f"{place.rpartition(':')[0]} {name}"


def flame_svg(stacks: Stacks, title: str) -> str:
    """The flame graph; without samples it says so."""
    root = _tree(stacks)
    depth = _depth(root)
    height = HEAD + ROW * depth + PAD
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="ui-monospace, monospace" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fffdf8"/>',
        f'<text x="{PAD}" y="26" font-size="15" fill="#222">{escape(title)}</text>',
    ]
    lines += _boxes(root, root.count, float(PAD), 0, WIDTH - 2 * PAD)
    if not root.count:
        lines.append(f'<text x="{PAD}" y="{HEAD + 13}">no sample: every run was too short</text>')
    return "\n".join([*lines, "</svg>", ""])


def _tree(stacks: Stacks) -> _Node:
    root = _Node("all runs")
    for stack, count in stacks.items():
        node = root
        node.count += count
        for frame in stack:
            node = node.children.setdefault(function_of(frame), _Node(function_of(frame)))
            node.count += count
    return root


def _depth(node: _Node) -> int:
    return 1 + max((_depth(child) for child in node.children.values()), default=0)


def _boxes(node: _Node, total: int, x: float, level: int, width: float) -> Iterator[str]:
    if not total or width < BOX_WIDTH_MIN:
        return
    y = HEAD + level * ROW
    share = f"{node.name}: {100 * node.count / total:.1f} % ({node.count} of {total} samples)"
    yield (
        f'<g><title>{escape(share)}</title><rect x="{x:.1f}" y="{y}" width="{width:.1f}" '
        f'height="{ROW - 1}" rx="2" fill="{_colour(node.name, level)}"/>{_label(node, x, y, width)}</g>'
    )
    for name in sorted(node.children):
        child = node.children[name]
        child_width = width * child.count / node.count
        yield from _boxes(child, total, x, level + 1, child_width)
        x += child_width


def _label(node: _Node, x: float, y: int, width: float) -> str:
    chars = int((width - 6) / CHAR_WIDTH)
    if chars < 3:
        return ""
    text = node.name if len(node.name) <= chars else node.name[: chars - 1] + "…"
    return f'<text x="{x + 3:.1f}" y="{y + 12}" fill="#222">{escape(text)}</text>'


def _colour(name: str, level: int) -> str:
    if level == 0:
        return "#d8d4c8"
    file = name.rpartition(" ")[0]
    hue = HUES[zlib.crc32(file.encode()) % len(HUES)]
    return f"hsl({hue} 75% {68 + 4 * (zlib.crc32(name.encode()) % 4)}%)"
