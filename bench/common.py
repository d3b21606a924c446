# SPDX-License-Identifier: MIT
"""What the benchmark scripts share: the library's place, the environment of each side, medians, tables, progress."""

import functools
import json
import os
import resource
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


def children_time():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@functools.cache
def fio_start():
    """CPU seconds of a fio that has nothing to do: what its start and its end take."""
    command = ["fio", "--name=nothing", "--ioengine=null", "--size=4k", "--time_based", "--runtime=1ms", "--output-format=json"]
    samples = []
    for _ in range(3):
        before = children_time()
        subprocess.run(command, env=environment(), capture_output=True)
        samples.append(children_time() - before)
    return median(samples)


def run_fio(command, library, limit, side):
    """One run's figures, side being "read" or "write"; or the reason why there are none. fio itself knows the processor time of one thread
    only: that of all of them is the whole process's, without what a fio with nothing to do takes."""
    start = fio_start()
    before = children_time()
    try:
        done = subprocess.run(
            command, env=environment(library), capture_output=True, text=True, errors="replace", timeout=limit
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not finished after {limit:.0f} s"}
    used = max(children_time() - before - start, 0)
    begin = done.stdout.find("\n{") + 1 if not done.stdout.startswith("{") else 0
    try:
        job = json.loads(done.stdout[begin:])["jobs"][0]
    except (ValueError, KeyError, IndexError):
        job = None
    if done.returncode != 0 or job is None or job["error"] or not job[side]["iops"]:
        text = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        return {"error": f"exit status {done.returncode}: {text[:120]}"}
    figures = job[side]
    percentiles = figures["lat_ns"]["percentile"]
    return {
        "rate": figures["iops"],
        "cpu_us": used * 1e6 / figures["total_ios"],
        "p50_us": percentiles["50.000000"] / 1000,
        "p99_us": percentiles["99.000000"] / 1000,
        "cpu": used * 1e5 / figures["runtime"],
    }


def rotated(sides, turn):
    """The sides in an order that starts with another one in every round, so that none always goes first."""
    turn %= len(sides)
    return sides[turn:] + sides[:turn]


def median(values):
    return statistics.median(values)


def has_fallen(then, now):
    """Whether the ratios of now are lower than those of then by more than both spread: not one bad turn, and not what was seen already."""
    return bool(then and now) and median(now) < min(then) and max(now) < median(then)


def spread_text(values):
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})" if values else ""


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
