# SPDX-License-Identifier: MIT
"""What the benchmark scripts share: the library's place, the environment of each side, medians, tables, progress."""

import os
import statistics
import subprocess
import sys
import time

LIBRARY = "libsigevec.so.1"
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def stop(message):
    sys.exit(f"{os.path.basename(sys.argv[0])}: {message}")


def find_built(name, variable, given=None):
    """A built file: as given, from the environment, or from the usual build folders."""
    places = [given or os.environ.get(variable)]
    if not places[0]:
        places = [os.path.join(base, name) for base in ("build", ".", os.path.join(TOP, "build"), TOP)]
    for place in places:
        if os.path.exists(place):
            return os.path.abspath(place)
    stop(f"{name} not found: build it first, or set {variable} ({', '.join(places)} tried)")


def find_library(given=None):
    return find_built(os.path.join(".libs", LIBRARY), "SIGEVEC_LIB", given)


def environment(library=None):
    """The environment of one side: with the library preloaded, or certainly without."""
    result = {name: value for name, value in os.environ.items() if not name.startswith("LD_")}
    if library:
        result["LD_PRELOAD"] = library
    return result


def require_bound(command, symbol, library):
    """Stops unless the dynamic linker binds the program's symbol to the library (BIND_NOW programs: at start)."""
    env = environment(library)
    env["LD_DEBUG"] = "bindings"
    env["LD_BIND_NOW"] = "1"
    text = subprocess.run(command, env=env, capture_output=True, text=True, errors="replace").stderr
    for line in text.splitlines():
        if f"symbol `{symbol}'" in line and LIBRARY in line.partition(" to ")[2]:
            return
    stop(f"{symbol} of {command[0]} is not bound to {library}")


def rotated(sides, turn):
    """The sides in an order that starts with another one in every round, so that none always goes first."""
    turn %= len(sides)
    return sides[turn:] + sides[:turn]


def median(values):
    return statistics.median(values)


def count_text(value):
    """1234567 -> 1.23 M: operations per second for the eye."""
    for limit, divisor, unit in ((1e6, 1e6, " M"), (1e4, 1e3, " k"), (0, 1, "")):
        if value >= limit:
            shown = value / divisor
            return f"{shown:.{0 if not unit or shown >= 100 else 1 if shown >= 10 else 2}f}{unit}"
    return "0"


class Progress:
    """One line on the terminal, rewritten; nothing at all when standard error is not a terminal."""

    def __init__(self, total):
        self.total, self.done, self.start = total, 0, time.monotonic()
        self.shown = sys.stderr.isatty()

    def step(self, what):
        if self.shown:
            left = ""
            if self.done:
                seconds = (time.monotonic() - self.start) / self.done * (self.total - self.done)
                left = f", about {seconds:.0f} s left"
            sys.stderr.write(f"\r\033[K[{self.done + 1}/{self.total}] {what}{left}")
            sys.stderr.flush()
        self.done += 1

    def clear(self):
        if self.shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()


def print_table(heads, groups, left=1):
    """Groups of rows with a line between; the first `left` columns flush left, the last one too."""
    rows = [heads] + [row for group in groups for row in group]
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]

    def line(row):
        cells = [
            cell.ljust(width) if i < left or i == len(row) - 1 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ]
        print("  ".join(cells).rstrip())

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    line(heads)
    for group in groups:
        print(rule)
        for row in group:
            line(row)
    print(rule)


def verdict(value, goal):
    return "reached" if value >= goal else "NOT REACHED"
