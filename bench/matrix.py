# SPDX-License-Identifier: MIT
"""`fio-compare matrix': every kind of file work at depth 1, 8 and 32, under glibc and under libsigevec, beside fio's libaio, io_uring and
as many psync threads as the depth. All sides of a cell run in turns; each ratio is the median of the turns' ratios, with the least and the greatest. See bench/README.md."""

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass

import common

GLIBC, SIGEVEC, LIBAIO, IO_URING, PSYNC = "glibc", "libsigevec", "libaio", "io_uring", "psync"
BEFORE = "before"
ENGINES = {GLIBC: "posixaio", SIGEVEC: "posixaio", BEFORE: "posixaio", LIBAIO: "libaio", IO_URING: "io_uring", PSYNC: "psync"}
DEPTHS = (1, 8, 32)
MIX = ["--rw=randrw", "--rwmixread=70", "--fsync=32"]


@dataclass
class Kind:
    name: str
    text: str
    work: list
    file: str  # which of the files
    direct: bool = False
    cold: bool = False  # nothing of it in the cache at the start


KINDS = [
    Kind("direct-read", "O_DIRECT read", ["--rw=randread"], "disk", direct=True),
    Kind("direct-write", "O_DIRECT overwrite", ["--rw=randwrite"], "disk", direct=True),
    Kind("direct-mix", "O_DIRECT 70/30, fsync every 32", MIX, "disk", direct=True),
    Kind("cached-read", "cached read", ["--rw=randread"], "disk"),
    Kind("cached-write", "cached write", ["--rw=randwrite"], "disk"),
    Kind("cached-mix", "cached 70/30, fsync every 32", MIX, "disk"),
    Kind("cold-read", "cold read", ["--rw=randread"], "large", cold=True),
    Kind("large-write", "write, large file, not in the cache", ["--rw=randwrite"], "large", cold=True),
    Kind("large-mix", "the same, 70/30, fsync every 32", MIX, "large", cold=True),
    Kind("tmpfs-read", "tmpfs read", ["--rw=randread"], "tmpfs"),
    Kind("tmpfs-write", "tmpfs write", ["--rw=randwrite"], "tmpfs"),
    Kind("tmpfs-mix", "tmpfs 70/30, fsync every 32", MIX, "tmpfs"),
]
# One depth of each kind: what can be lost first.
SHORT = dict(zip((k.name for k in KINDS), (32, 8, 32, 1, 32, 1, 32, 8, 8, 32, 8, 32)))


@dataclass
class Cell:
    kind: Kind
    depth: int

    @property
    def name(self):
        return f"{self.kind.name}-{self.depth}"


def parse_options(arguments):
    p = argparse.ArgumentParser(prog="fio-compare matrix", description=__doc__)
    p.add_argument("--file", metavar="DIR", help="folder for the test files, on a disk (default: the current one)")
    p.add_argument("--short", action="store_true", help="one depth of each kind, in about three minutes")
    p.add_argument("--rounds", type=int, default=3, help="runs of each side, in turns (default 3)")
    p.add_argument("--seconds", type=float, help="length of one run (default 1, short 0.5)")
    p.add_argument("--size", type=int, metavar="MIB", default=128, help="size of the file in the cache (default 128; the large one has eight times that)")
    p.add_argument("--cells", help="which: kinds or cells, as direct-read,cached-write-32 (default: all)")
    p.add_argument("--sides", help=f"which of {','.join(ENGINES)} (default: all but {BEFORE})")
    p.add_argument("--lib", help="the library (default: $SIGEVEC_LIB, or the one in the build folder)")
    p.add_argument("--before", metavar="LIB", help="another libsigevec.so.1, to be measured as well")
    p.add_argument("--json", metavar="FILE", help="write every run's figures there")
    p.add_argument("--against", metavar="FILE", help="figures of --json: the exit status is 1 if a ratio to glibc lies below all of those of its cell there")
    options = p.parse_args(arguments)
    options.seconds = options.seconds or (0.5 if options.short else 1)
    return options


def chosen_cells(options):
    cells = [Cell(kind, depth) for kind in KINDS for depth in DEPTHS if not options.short or SHORT[kind.name] == depth]
    if not options.cells:
        return cells
    wanted = options.cells.split(",")
    found = [cell for cell in cells if cell.name in wanted or cell.kind.name in wanted]
    return found or common.stop(f"no cell {options.cells}; kinds: {', '.join(kind.name for kind in KINDS)}")


def chosen_sides(options):
    if options.sides:
        sides = options.sides.split(",")
        if unknown := [side for side in sides if side not in ENGINES or (side == BEFORE and not options.before)]:
            common.stop(f"no side {', '.join(unknown)}")
        return sides
    return [side for side in ENGINES if side != BEFORE or options.before]


def fio_command(cell, side, path, mib, options, turn):
    depth = [f"--numjobs={cell.depth}", "--thread"] if side == PSYNC else [f"--iodepth={cell.depth}"]
    return [
        "fio", "--name=job", f"--filename={path}", f"--size={mib}m", "--bs=4k", *cell.kind.work, *depth, f"--ioengine={ENGINES[side]}",
        f"--direct={int(cell.kind.direct)}", "--invalidate=0", "--norandommap", f"--randseed={1000 + turn}", "--time_based",
        f"--runtime={round(options.seconds * 1000)}ms", "--clat_percentiles=0", "--lat_percentiles=1", "--percentile_list=50:99",
        "--group_reporting", "--unified_rw_reporting=mixed", "--disk_util=0", "--eta=never", "--output-format=json",
    ]


def bring_about(cell, path):
    """What the cache holds at the start of a run: the same for every side. Nothing is left to be written by the run before."""
    with open(path, "r+b", buffering=0) as file:
        os.fsync(file.fileno())
        # Where pages are cached, O_DIRECT writes have to take them out of the cache first.
        if cell.kind.cold or cell.kind.direct:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            while file.read(1 << 22):
                pass


def measure_cell(cell, files, libraries, sides, options, progress):
    path, mib = files[cell.kind.file]
    runs = {side: [] for side in sides}
    for turn in range(options.rounds):
        for side in common.rotated(sides, turn):
            progress.step(f"{cell.name}: {side}")
            bring_about(cell, path)
            command = fio_command(cell, side, path, mib, options, turn)
            runs[side].append(common.run_fio(command, libraries.get(side), options.seconds + 60, "mixed"))
    return runs


def ratios(runs, side, other, figure="rate"):
    pairs = zip(runs.get(side, []), runs.get(other, []))
    return [one[figure] / two[figure] for one, two in pairs if one.get(figure) and two.get(figure)]


def best_ratio(runs):
    """Against whichever of fio's own engines is the better one here."""
    both = [values for values in (ratios(runs, SIGEVEC, other) for other in (LIBAIO, IO_URING)) if values]
    return min(both, key=common.median, default=[])


def rate_text(runs, side):
    good = [run["rate"] for run in runs[side] if "error" not in run]
    return f"{common.median(good) / 1000:.1f}" if len(good) == len(runs[side]) and good else "failed"


def processor_text(runs, side):
    good = [run["cpu_us"] for run in runs.get(side, []) if "error" not in run]
    return f"{common.median(good):.1f}" if good else ""


def row(cell, runs, sides):
    latency = ratios(runs, GLIBC, SIGEVEC, "p99_us")
    return [
        cell.kind.text if cell.depth == DEPTHS[0] else "", str(cell.depth), *(rate_text(runs, side) for side in sides),
        common.spread_text(ratios(runs, SIGEVEC, GLIBC)), common.spread_text(best_ratio(runs)), f"{common.median(latency):.2f}" if latency else "",
        processor_text(runs, SIGEVEC), processor_text(runs, GLIBC),
    ]


def print_result(cells, results, sides, options):
    print(f"fio, 4 KiB at random, thousand operations a second; medians of {options.rounds} runs of {options.seconds:g} s, in turns. vs glibc, vs best: "
          "medians of the turns' ratios\n(least-greatest); best: the better of libaio and io_uring. p99: glibc's latency to libsigevec's. "
          "us: processor time for an operation, libsigevec's and glibc's.\n")
    heads = ["4 KiB, fio", "depth", *sides, "vs glibc", "vs best", "p99", "us", "us glibc"]
    groups = {}
    for cell in cells:
        groups.setdefault(cell.kind.name, []).append(row(cell, results[cell.name], sides))
    for rows in groups.values():
        rows[0][0] = next(cell.kind.text for cell in cells if groups[cell.kind.name] is rows)
    common.print_table(heads, list(groups.values()))
    for cell in cells:
        for side in sides:
            if errors := [run["error"] for run in results[cell.name][side] if "error" in run]:
                print(f"{cell.name}, {side}: {len(errors)} runs failed: {errors[0]}")


def fallen(cells, results, path):
    with open(path) as file:
        earlier = json.load(file)["runs"]
    lower = []
    for cell in cells:
        then, now = (ratios(of.get(cell.name, {}), SIGEVEC, GLIBC) for of in (earlier, results))
        if common.has_fallen(then, now):
            lower.append(f"{cell.name}: {common.spread_text(now)}, was {common.spread_text(then)}")
    return lower


def write_file(folder, name, mib):
    path = os.path.join(folder, name)
    chunk = os.urandom(1 << 20)
    try:
        with open(path, "wb") as out:
            for _ in range(mib):
                out.write(chunk)
            os.fsync(out.fileno())
    except OSError as error:
        common.stop(f"cannot write {mib} MiB in {folder}: {error.strerror}")
    return path, mib


def measure(cells, libraries, sides, options):
    results = {}
    progress = common.Progress(len(cells) * len(sides) * options.rounds)
    with tempfile.TemporaryDirectory(prefix="sigevec-bench.", dir=options.file or ".") as disk, \
            tempfile.TemporaryDirectory(prefix="sigevec-bench.", dir="/dev/shm") as memory:
        sizes = {"disk": (disk, options.size), "large": (disk, 8 * options.size), "tmpfs": (memory, options.size)}
        files = {name: write_file(folder, name, mib) for name, (folder, mib) in sizes.items()
                 if any(cell.kind.file == name for cell in cells)}
        for cell in cells:
            results[cell.name] = measure_cell(cell, files, libraries, sides, options, progress)
    progress.clear()
    return results


def main(arguments):
    options = parse_options(arguments)
    cells, sides = chosen_cells(options), chosen_sides(options)
    if not shutil.which("fio"):
        common.stop("fio is not installed")
    libraries = {SIGEVEC: common.find_library(options.lib)}
    if options.before:
        libraries[BEFORE] = os.path.abspath(options.before)
    for library in libraries.values():
        common.require_bound(["fio", "--version"], "aio_read64", library)
    results = measure(cells, libraries, sides, options)
    print_result(cells, results, sides, options)
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"rounds": options.rounds, "seconds": options.seconds, "runs": results}, out, indent=1)
    lower = fallen(cells, results, options.against) if options.against else []
    for line in lower:
        print(f"fallen: {line}")
    failed = any("error" in run for runs in results.values() for side in (GLIBC, SIGEVEC) for run in runs.get(side, []))
    return 1 if failed or lower else 0
