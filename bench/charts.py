# SPDX-License-Identifier: MIT
"""Charts of bars, and of curves, as SVG, for the eye of somebody who reads a page with a white or a dark ground."""

import math
from xml.sax.saxutils import escape

COLOURS = ("#4878a8", "#c9784a")
LEFT, WIDEST, WIDTH, BAR = 160, 430, 720, 18


def text(x, y, content, more=""):
    return f'<text x="{x:.1f}" y="{y}" fill="#222"{more}>{escape(content)}</text>'


def panel(top, heading, names, rows, show):
    """(parts, height) of one heading with its rows [(name, [value, ...])]; names: of the values, if there are several."""
    most = max((value for _, values in rows for value in values), default=0) or 1
    parts = [text(10, top + 18, heading, ' font-weight="bold"')]
    for i, name in enumerate(names):
        x = WIDTH - 80 * (len(names) - i)
        parts += [f'<rect x="{x}" y="{top + 8}" width="10" height="10" fill="{COLOURS[i]}"/>', text(x + 14, top + 18, name)]
    y = top + 30
    for label, values in rows:
        middle = y + BAR * len(values) / 2 + 5
        parts.append(text(LEFT - 10, middle, label, ' text-anchor="end"'))
        for i, value in enumerate(values):
            width = WIDEST * value / most
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{COLOURS[i]}"/>')
            parts.append(text(LEFT + width + 6, y + 13, show(value)))
            y += BAR
        y += 6
    return parts, y - top


def chart(title, panels):
    """panels: [(heading, names of the values, [(name, [value, ...])], function from a value to its text)]"""
    parts, top = [text(10, 24, title, ' font-size="16"')], 36
    for one in panels:
        more, height = panel(top, *one)
        parts += more
        top += height + 10
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" font-family="sans-serif" font-size="13">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{top}" fill="white"/>', *parts, "</svg>", ""])


PALETTE = ("#4878a8", "#c9784a", "#6a9a58", "#8a6aa8")
PLOT_HEIGHT = 170


def lines(heading, top, series):
    """(parts, height) of curves on logarithmic axes: {name: [(x, y), ...]}, all above 0."""
    points = [point for values in series.values() for point in values]
    if not points:
        return [], 0
    xs, ys = ([math.log10(point[i]) for point in points] for i in (0, 1))
    low_x, high_x = min(xs), max(max(xs), min(xs) + 1)
    low_y, high_y = math.floor(min(ys)), max(math.ceil(max(ys)), math.floor(min(ys)) + 1)
    width, base = WIDTH - LEFT - 110, top + 30 + PLOT_HEIGHT

    def place(x, y):
        return (LEFT + width * (math.log10(x) - low_x) / (high_x - low_x), base - PLOT_HEIGHT * (math.log10(y) - low_y) / (high_y - low_y))

    parts = [text(10, top + 18, heading, ' font-weight="bold"')]
    for power in range(low_y, high_y + 1):
        y = place(10**low_x, 10**power)[1]
        parts += [f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + width}" y2="{y:.1f}" stroke="#ddd"/>', text(LEFT - 8, round(y) + 4, f"{10**power:g}", ' text-anchor="end"')]
    for x in sorted({point[0] for point in points}):
        parts.append(text(place(x, 10**low_y)[0], base + 16, f"{x:g}", ' text-anchor="middle" font-size="10"'))
    for i, (name, values) in enumerate(series.items()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in values))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{PALETTE[i]}" stroke-width="2"/>')
        parts.append(f'<text x="{LEFT + width + 8}" y="{top + 44 + 18 * i}" fill="{PALETTE[i]}">{escape(name)}</text>')
    return parts, PLOT_HEIGHT + 60


def plot(title, plots):
    """plots: [(heading, {name: [(x, y), ...]})]"""
    parts, top = [text(10, 24, title, ' font-size="16"')], 36
    for heading, series in plots:
        more, height = lines(heading, top, series)
        parts += more
        top += height
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" font-family="sans-serif" font-size="13">'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{top}" fill="white"/>', *parts, "</svg>", ""])
