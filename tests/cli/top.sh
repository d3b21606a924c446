#!/bin/bash
# SPDX-License-Identifier: MIT
# `sigevec top': rates are what was done in the time between two tables; it is sorted as told; on a terminal it draws, hears its keys and
# leaves the terminal as it was.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "it cannot be preloaded on its own"
[ -w /dev/shm ] || skip "there is no /dev/shm to write to"
compile user
head -c 65536 /dev/zero >"$scratch/data"

# Two processes that have done something and wait; the third keeps no statistics.
coproc few { LD_PRELOAD=$SIGEVEC_LIB SIGEVEC_STATS=1 exec "$scratch/user" --reads 10 --hang "$scratch/data"; }
few_in=${few[1]}
read -r few_pid <&"${few[0]}"
mkfifo "$scratch/many" "$scratch/none"
LD_PRELOAD=$SIGEVEC_LIB SIGEVEC_STATS=1 "$scratch/user" --reads 5000 --hang "$scratch/data" <"$scratch/many" >"$scratch/many.pid" &
exec {many}>"$scratch/many"
LD_PRELOAD=$SIGEVEC_LIB "$scratch/user" --hang "$scratch/data" <"$scratch/none" >"$scratch/none.pid" &
exec {none}>"$scratch/none"
for f in many none; do
	until [ -s "$scratch/$f.pid" ]; do :; done
done
many_pid=$(cat "$scratch/many.pid") none_pid=$(cat "$scratch/none.pid")

ends 0 "$SIGEVEC_TOOL" top --batch --count 1
says '^ +pid user +program +req/s +bytes/s +p50 +p99 +outst +fall/s engines$'
says "^ *$few_pid +[^ ]+ +user +[0-9.]+ +[0-9.]+ [KM]?i?B +([0-9.]+ .?s|-) +([0-9.]+ .?s|-) +1 +[0-9.]+ [a-z]+ 100%"
says "^ *$many_pid .* 1 "
says '^without statistics [1-9]'
! grep -q "^ *$none_pid " "$scratch/out" || fail "a process without statistics is in the table"

# The first table is of the time since the start, the second one of nothing: they wait.
ends 0 "$SIGEVEC_TOOL" top --json --count 2 --delay 0.05
[ "$(wc -l <"$scratch/out")" = 2 ] || fail "not an object in each line"
python3 - "$scratch/out" "$few_pid" "$many_pid" <<'END' || fail "the figures are not those of the two programs: $(cat "$scratch/out")"
import json, sys
first, second = [json.loads(line) for line in open(sys.argv[1])]
of = lambda look, pid: next(p for p in look["processes"] if p["pid"] == int(pid))
for pid in sys.argv[2:]:
    assert of(first, pid)["requests_per_second"] > 0 and of(first, pid)["outstanding"] == 1
    assert of(first, pid)["engines"] != "-" and of(first, pid)["bytes_per_second"] > 0
    assert of(second, pid)["requests_per_second"] == 0 and of(second, pid)["engines"] == "-"
    assert of(second, pid)["p50_ns"] is None and of(second, pid)["outstanding"] == 1
assert first["without_statistics"] >= 1
END

# order KEY: the numbers of the two in the order of the table
order() {
	ends 0 "$SIGEVEC_TOOL" top -b -n 1 --sort "$1"
	awk -v a="$few_pid" -v b="$many_pid" '$1 == a || $1 == b { printf "%s ", $1 }' "$scratch/out"
}
if [ "$few_pid" -lt "$many_pid" ]; then by_pid="$few_pid $many_pid "; else by_pid="$many_pid $few_pid "; fi
[ "$(order pid)" = "$by_pid" ] || fail "not sorted by pid: $(order pid)"
# 500 times the requests in at most some seconds more.
[ "$(order requests)" = "$many_pid $few_pid " ] || fail "not sorted by requests: $(order requests)"
[ "$(order bytes)" = "$many_pid $few_pid " ] || fail "not sorted by bytes: $(order bytes)"

ends 2 "$SIGEVEC_TOOL" top --sort colour
complains '^sigevec top: --sort colour: sorted is by requests, bytes, latency, outstanding, fallbacks or pid$'
ends 2 "$SIGEVEC_TOOL" top --delay 0
complains '^sigevec top: --delay 0: not a number of seconds'
ends 2 "$SIGEVEC_TOOL" top --count 0
ends 2 "$SIGEVEC_TOOL" top more
ends 1 "$SIGEVEC_TOOL" top
complains 'not a terminal; --batch needs none'

# --- on a terminal
python3 - "$SIGEVEC_TOOL" "$few_pid" "$many_pid" <<'END' || fail "on a terminal"
import fcntl, os, pty, select, signal, struct, sys, termios, time
tool, few, many = sys.argv[1:]

class Top:
    def __init__(self, *options):
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 200, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            for fd in (0, 1):
                os.dup2(self.slave, fd)
            os.execv(tool, [tool, "top", *options])
        self.text = b""
    def until(self, what):
        """Reads until what() is true of the last screen. A limit ends what hangs."""
        end = time.monotonic() + 120
        while not what(self.text.split(b"\033[H\033[J")[-1].decode()):
            assert time.monotonic() < end, self.text[-3000:]
            if select.select([self.master], [], [], 1)[0]:
                self.text += os.read(self.master, 65536)
    def key(self, k):
        os.write(self.master, k)
    def end(self):
        end, status = time.monotonic() + 120, (0, 0)
        while status[0] == 0:
            assert time.monotonic() < end
            if select.select([self.master], [], [], 0.05)[0]:
                self.text += os.read(self.master, 65536)
            status = os.waitpid(self.pid, os.WNOHANG)
        while select.select([self.master], [], [], 0)[0]:
            self.text += os.read(self.master, 65536)
        assert termios.tcgetattr(self.slave) == self.before, "the terminal is another one"
        assert self.text.endswith(b"\033[?7h\033[?25h\033[?1049l"), self.text[-200:]
        return os.waitstatus_to_exitcode(status[1])

def shows(by):
    def look(screen):
        lines = screen.splitlines()
        rows = [l.split()[0] for l in lines if l.split()[:1] in ([few], [many])]
        return "q quit" in screen and f"by {by}" in screen and len(rows) == 2 and screen.endswith("\n")
    return look

t = Top("--delay", "1000")
t.until(shows("requests"))
assert b"\033[?1049h" in t.text and not termios.tcgetattr(t.slave)[3] & (termios.ICANON | termios.ECHO)
for letter, name in (b"b", "bytes"), (b"p", "pid"), (b"f", "fallbacks"), (b"o", "outstanding"), (b"l", "latency"):
    t.key(letter)
    t.until(shows(name))
seen = len(t.text)
t.key(b" ")
t.until(lambda screen: len(t.text) > seen and shows("latency")(screen))
t.key(b"q")
assert t.end() == 0

t = Top("--count", "3", "--delay", "0.05")
assert t.end() == 0 and t.text.count(b"q quit") == 3, t.text

for s in signal.SIGINT, signal.SIGTERM:
    t = Top("--delay", "1000")
    t.until(shows("requests"))
    os.kill(t.pid, s)
    assert t.end() == 0
END

eval "exec $few_in>&-"
exec {many}>&- {none}>&-
wait
finish
