# SPDX-License-Identifier: MIT
"""The echo servers of bench_echo and bench_echo_sigevec, and one run of one against bench_echo_client: for run-echo and regress."""

import os
import signal
import subprocess

import common

PRELOADED = "aio-preload"  # the server on POSIX AIO, under the library instead of glibc
LIMIT = 120


def find_servers(wanted):
    """{name: (command, preloaded library)} in the order of the table."""
    ours, others = common.find_built("bench_echo_sigevec", "BENCH_ECHO_SIGEVEC"), common.find_built("bench_echo", "BENCH_ECHO")
    library = common.find_library()
    found = {}
    for program in (ours, others):
        for name in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
            found[name] = ([program, name], None)
    found[PRELOADED] = ([others, "aio"], library)
    common.require_bound([others, "--list"], "aio_read", library)
    if wanted:
        for name in wanted.split(","):
            if name not in found:
                common.stop(f"there is no server {name}; there are {', '.join(found)}")
        found = {name: found[name] for name in wanted.split(",")}
    return found


def on_processor(number):
    return lambda: os.sched_setaffinity(0, {number})


def reports(output):
    """The servers' report lines: [(messages, microseconds, kilobytes)]."""
    return [tuple(int(word) for word in line.split()[1:]) for line in output.splitlines() if line.startswith("report")]


def run_once(server, connections, messages, cpus, client, rate=0):
    """One run (rate "short": each message on a connection of its own): {"rate": messages/s, "cpu": us of processor time for a message, "rss": kB}, or why there is none."""
    command, library = server
    process = subprocess.Popen(command, env=common.environment(library), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, preexec_fn=on_processor(cpus[0]))
    before = after = ""
    try:
        port = process.stdout.readline().partition(" ")[2].strip()
        if port:
            done = subprocess.run([client, port, str(connections), str(messages), str(process.pid), str(rate)], capture_output=True,
                                  text=True, timeout=LIMIT, preexec_fn=on_processor(cpus[1]))
            if done.returncode != 0:
                return done.stderr.strip() or f"the client ended with {done.returncode}"
            before, after = process.stdout.readline(), process.stdout.readline()
    except subprocess.TimeoutExpired as reason:
        return f"no end: {reason}"
    finally:
        process.send_signal(signal.SIGKILL)
        error = process.communicate()[1].strip()
    told = reports(before + after)
    if len(told) != 2 or told[1][0] == told[0][0]:
        return error or "the server has not reported"
    numbers = [float(word) for word in done.stdout.split()]
    return {"rate": numbers[0], "p50": numbers[1] if len(numbers) > 1 else None, "p99": numbers[2] if len(numbers) > 1 else None,
            "cpu": (told[1][1] - told[0][1]) / (told[1][0] - told[0][0]), "rss": told[1][2]}
