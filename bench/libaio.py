# SPDX-License-Identifier: MIT
"""`fio-compare libaio': programs on libaio, by the kernel's own AIO and by libsigevec_aio.so.1 preloaded, beside fio's io_uring engine; and how long
io_submit and io_destroy take. All sides of a cell run in turns; each ratio is the median of the turns' ratios, with the least and the greatest."""

import argparse
import ctypes
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

import common
import matrix

KERNEL, SIGEVEC, IO_URING = "kernel", "libsigevec", "io_uring"
SIDES = (KERNEL, SIGEVEC, IO_URING)
ENGINES = {KERNEL: "libaio", SIGEVEC: "libaio", IO_URING: "io_uring"}
BEST = "best"
LIBRARY = "libsigevec_aio.so.1"


@dataclass
class Cell:
    name: str
    text: str
    work: list
    depth: int
    direct: bool = False
    cold: bool = False
    goals: dict = field(default_factory=dict)  # against whom: the least ratio


READ = ["--rw=randread"]
CELLS = [
    Cell("direct-1", "O_DIRECT read", READ, 1, direct=True, goals={BEST: 0.97}),
    Cell("direct-32", "O_DIRECT read", READ, 32, direct=True, goals={BEST: 0.97}),
    Cell("direct-128", "O_DIRECT read", READ, 128, direct=True, goals={BEST: 0.97}),
    Cell("cold-32", "cold buffered read", READ, 32, cold=True, goals={KERNEL: 4}),
    Cell("mix-32", "buffered 70/30, fsync every 32", matrix.MIX, 32, goals={KERNEL: 2}),
    Cell("cached-32", "cached read", READ, 32, goals={KERNEL: 1}),
]


def parse_options(arguments):
    p = argparse.ArgumentParser(prog="fio-compare libaio", description=__doc__)
    p.add_argument("--file", metavar="DIR", help="folder for the test file, on a disk (default: the current one)")
    p.add_argument("--rounds", type=int, default=5, help="runs of each side, in turns (default 5)")
    p.add_argument("--seconds", type=float, default=1, help="length of one run (default 1)")
    p.add_argument("--size", type=int, metavar="MIB", default=512, help="size of the file (default 512)")
    p.add_argument("--cells", help=f"which of {','.join(cell.name for cell in CELLS)} (default: all)")
    p.add_argument("--json", metavar="FILE", help="write every run's figures there")
    p.add_argument("--calls", help=argparse.SUPPRESS)  # the program that is measured by itself: print_calls()
    return p.parse_args(arguments)


def fio_command(cell, side, path, options, turn):
    return [
        "fio", "--name=job", f"--filename={path}", f"--size={options.size}m", "--bs=4k", *cell.work, f"--iodepth={cell.depth}",
        f"--ioengine={ENGINES[side]}", f"--direct={int(cell.direct)}", "--invalidate=0", "--norandommap", f"--randseed={1000 + turn}",
        "--time_based", f"--runtime={round(options.seconds * 1000)}ms", "--clat_percentiles=0", "--lat_percentiles=1",
        "--percentile_list=50:99", "--unified_rw_reporting=mixed", "--disk_util=0", "--eta=never", "--output-format=json",
    ]


def bring_about(path, cached):
    with open(path, "r+b", buffering=0) as file:
        os.fsync(file.fileno())
        if not cached:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while cached and file.read(1 << 22):
            pass


def measure_cell(cell, path, library, options, progress):
    runs = {side: [] for side in SIDES}
    for turn in range(options.rounds):
        for side in common.rotated(SIDES, turn):
            progress.step(f"{cell.name}: {side}")
            bring_about(path, not (cell.direct or cell.cold))
            command = fio_command(cell, side, path, options, turn)
            runs[side].append(common.run_fio(command, library if side == SIGEVEC else None, options.seconds + 60, "mixed"))
    return runs


def ratios_to(runs, other):
    if other != BEST:
        return matrix.ratios(runs, SIGEVEC, other)
    both = [values for values in (matrix.ratios(runs, SIGEVEC, side) for side in (KERNEL, IO_URING)) if values]
    return min(both, key=common.median, default=[])


def row(cell, runs):
    goals = []
    for other, least in cell.goals.items():
        if values := ratios_to(runs, other):
            goals.append(f"{other} {least:g}: {common.verdict(common.median(values), least)}")
    return [
        cell.text, str(cell.depth), *(matrix.rate_text(runs, side) for side in SIDES), common.spread_text(ratios_to(runs, KERNEL)),
        common.spread_text(ratios_to(runs, BEST)), *(matrix.processor_text(runs, side) for side in (SIGEVEC, KERNEL)), "; ".join(goals),
    ]


# ---- single calls, in a process of its own, by libc's syscall(), which the library takes the place of ----

NUMBERS = (0, 1, 4, 2) if platform.machine() == "aarch64" else (206, 207, 208, 209)
IO_SETUP, IO_DESTROY, IO_GETEVENTS, IO_SUBMIT = NUMBERS


class Iocb(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_uint64), ("key", ctypes.c_uint32), ("rw_flags", ctypes.c_int32), ("opcode", ctypes.c_uint16), ("priority", ctypes.c_int16),
        ("fd", ctypes.c_uint32), ("buf", ctypes.c_uint64), ("bytes", ctypes.c_uint64), ("offset", ctypes.c_int64), ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32), ("resfd", ctypes.c_uint32),
    ]


class Calls:
    def __init__(self):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.context = ctypes.c_void_p()
        self.call(IO_SETUP, 64, ctypes.byref(self.context))
        self.buffer = ctypes.create_string_buffer(97 << 20)

    def call(self, number, *arguments):
        result = self.libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
        if result < 0:
            common.stop(f"system call {number}: {os.strerror(ctypes.get_errno())}")
        return result

    def transfer(self, fd, opcode, length, offset):
        """Within io_submit: seconds, and of them those of the processor; seconds until the event; whether the thread slept within io_submit."""
        cb = Iocb(opcode=opcode, fd=fd, buf=ctypes.addressof(self.buffer), bytes=length, offset=offset)
        pointer, event = ctypes.c_void_p(ctypes.addressof(cb)), ctypes.create_string_buffer(32)
        slept, start, used = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw, time.monotonic(), time.thread_time()
        self.call(IO_SUBMIT, self.context, 1, ctypes.byref(pointer))
        used, submitted, slept = time.thread_time() - used, time.monotonic(), resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - slept
        self.call(IO_GETEVENTS, self.context, 1, 1, event, ctypes.c_void_p())
        return submitted - start, used, time.monotonic() - start, slept != 0

    def destroy(self):
        start = time.monotonic()
        self.call(IO_DESTROY, self.context)
        return time.monotonic() - start


def print_calls(path):
    """For the file at path: the figures of one side, as JSON."""
    pread, pwrite = 0, 1
    calls = Calls()
    fd = os.open(path, os.O_RDWR)
    appended = os.open(path + ".new", os.O_RDWR | os.O_CREAT)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    # Far apart: nothing has been read ahead.
    reads = [calls.transfer(fd, pread, 4096, i * 1048576 * 3) for i in range(100)]
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    large = calls.transfer(fd, pread, 96 << 20, 0)
    writes = [calls.transfer(appended, pwrite, 1 << 20, i << 20) for i in range(20)]
    os.unlink(path + ".new")
    json.dump({
        "cold 4 KiB reads that slept within io_submit, %": sum(r[3] for r in reads),
        "cold 96 MiB read: time in io_submit, of that until its event": large[0] / large[2],
        "appending 1 MiB write: time in io_submit, us": common.median([w[0] for w in writes]) * 1e6,
        "appending 1 MiB write: processor time in io_submit, us": common.median([w[1] for w in writes]) * 1e6,
        "io_destroy of an idle context, us": calls.destroy() * 1e6,
    }, sys.stdout)


def measure_calls(path, library):
    command = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "fio-compare"), "libaio", "--calls", path]
    figures = {}
    for side in (KERNEL, SIGEVEC):
        done = subprocess.run(command, env=common.environment(library if side == SIGEVEC else None), capture_output=True, text=True, timeout=120)
        figures[side] = json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr.strip()}
    return figures


def print_result(cells, results, calls, options):
    print(f"fio's libaio engine by the kernel's AIO and by {LIBRARY}, 4 KiB at random, thousand operations a second; medians of {options.rounds} runs of "
          f"{options.seconds:g} s, in turns.\nvs kernel, vs best: medians of the turns' ratios (least-greatest); best: the better of the kernel's and io_uring. "
          "us: processor time for an operation.\n")
    heads = ["4 KiB, fio", "depth", *SIDES, "vs kernel", "vs best", "us", "us kernel", "goal"]
    common.print_table(heads, [[row(cell, results[cell.name])] for cell in cells])
    print()
    heads = ["calls, one process each", KERNEL, SIGEVEC]
    names = calls[KERNEL].keys() & calls[SIGEVEC].keys()
    common.print_table(heads, [[[name, *(f"{calls[side][name]:.4g}" for side in (KERNEL, SIGEVEC))]] for name in sorted(names) if name != "error"])
    for side in (KERNEL, SIGEVEC):
        if "error" in calls[side]:
            print(f"calls, {side}: {calls[side]['error']}")


def main(arguments):
    options = parse_options(arguments)
    if options.calls:
        print_calls(options.calls)
        return 0
    cells = [cell for cell in CELLS if not options.cells or cell.name in options.cells.split(",")]
    library = common.find_built(os.path.join(".libs", LIBRARY), "SIGEVEC_AIO_LIB")
    progress = common.Progress(len(cells) * len(SIDES) * options.rounds)
    results = {}
    with tempfile.TemporaryDirectory(prefix="sigevec-bench.", dir=options.file or ".") as folder:
        path, _ = matrix.write_file(folder, "data", options.size)
        for cell in cells:
            results[cell.name] = measure_cell(cell, path, library, options, progress)
        calls = measure_calls(path, library)
    progress.clear()
    print_result(cells, results, calls, options)
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"rounds": options.rounds, "seconds": options.seconds, "runs": results, "calls": calls}, out, indent=1)
    return 1 if any("error" in run for runs in results.values() for side in runs for run in runs[side]) else 0
