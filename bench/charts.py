# SPDX-License-Identifier: MIT
"""Charts of bars as SVG, for the eye of somebody who reads a page with a white or a dark ground."""

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
