#!/bin/bash
# SPDX-License-Identifier: MIT
# `sigevec bench' measures every side on the user's file or folder, and changes nothing there.
. "$(dirname "$0")/common.sh"
folder=$scratch/folder
mkdir "$folder"
bench() {
	local expected=$1
	shift
	ends "$expected" "$SIGEVEC_TOOL" bench --seconds 0.01 --rounds 2 --size 256k "$@"
}

bench 0 "$folder"
says '^thousand requests/s +glibc +libsigevec +inline +kaio +uring +threads +to glibc$'
for work in 'read, cached, depth 1' 'read, cached, depth 32' 'write, buffered, depth 32'; do
	says "^$work +([0-9.]+ +){6}[0-9.]+ x\$"
done
no_line_over 80
bench 0 --libaio "$folder"
says '^thousand requests/s +kernel +libsigevec +inline +kaio +uring +threads +to kernel$'
for work in 'read, cached, depth 1' 'write, buffered, depth 32'; do
	says "^$work +([0-9.]+ +){6}[0-9.]+ x\$"
done
no_line_over 80
[ -z "$(ls -A "$folder")" ] || fail "it leaves $(ls -A "$folder")"
[ ! -s "$scratch/err" ] || fail "there is a progress display without a terminal: $(cat "$scratch/err")"

# A file is read only; each side but glibc's uses the library, and the engine that it says.
head -c 300000 /dev/urandom >"$scratch/file"
before=$(sha256sum "$scratch/file"; command stat -c %Y "$scratch/file")
mkdir "$scratch/stats"
ends 0 env SIGEVEC_STATS="$scratch/stats/" "$SIGEVEC_TOOL" bench --json -s 0.01 -r 1 --svg "$scratch/chart.svg" "$scratch/file"
[ "$before" = "$(sha256sum "$scratch/file"; command stat -c %Y "$scratch/file")" ] || fail "the file has changed"
is_json
json '{r["side"] for r in d["results"]} == {"glibc", "libsigevec", "inline", "kaio", "uring", "threads"}'
json 'all(r["operation"] == "read" for r in d["results"])'
json 'all(r["operations_per_second"] > 0 and len(r["runs"]) == 1 for r in d["results"] if not r["direct"])'
json 'all(r["to_glibc"] == 1 for r in d["results"] if r["side"] == "glibc" and not r["direct"])'
json 'all("error" in r for r in d["results"] if not r["runs"])'
for f in "$scratch/stats"/*; do
	"$SIGEVEC_TOOL" stat "$f" | awk '$1 == "read" { print $2 }'
done | sort | uniq -c >"$scratch/engines"
grep -q threads "$scratch/engines" || fail "no side used the threads"
grep -q inline "$scratch/engines" || fail "no side did anything within the call"
with=$(ls "$scratch/stats" | wc -l)
python3 -c 'import json, sys
d = json.load(open(sys.argv[1]))
sys.exit(int(sys.argv[2]) != sum(r["side"] != "glibc" and bool(r["runs"]) for r in d["results"]))' "$scratch/out" "$with" ||
	fail "$with measurements used the library"

python3 - "$scratch/chart.svg" <<'EOF' || fail "the chart"
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
name = "{http://www.w3.org/2000/svg}"
assert root.tag == name + "svg"
bars = [r for r in root.iter(name + "rect")][1:]
assert len(bars) >= 12, len(bars)
assert all(0 <= float(r.get("x")) + float(r.get("width")) <= float(root.get("width")) for r in bars)
assert "glibc" in [t.text for t in root.iter(name + "text")]
EOF

# With a terminal there is a progress display, and it is wiped at the end.
python3 - "$SIGEVEC_TOOL" "$folder" <<'EOF' || fail "the progress display"
import os, pty, sys
master, slave = pty.openpty()
pid = os.fork()
if pid == 0:
    os.close(master)
    os.dup2(slave, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execv(sys.argv[1], [sys.argv[1], "bench", "-s", "0.01", "-r", "1", "-S", "64k", sys.argv[2]])
os.close(slave)
seen = b""
try:
    while part := os.read(master, 65536):
        seen += part
except OSError:
    pass
status = os.waitpid(pid, 0)[1]
assert status == 0 and b"s left" in seen and b"glibc" in seen and seen.endswith(b"\r\x1b[K"), seen[-200:]
EOF

bench 1 "$scratch/nothing"
complains 'nothing: No such file'
: >"$scratch/empty"
bench 1 "$scratch/empty"
complains 'smaller than a block'
bench 1 /dev/null
# What cannot be written to is known before anything is measured.
mkdir "$scratch/none"
ends 1 env SIGEVEC_STATS="$scratch/none/" "$SIGEVEC_TOOL" bench -s 0.01 -r 1 --svg "$scratch/no/where" "$folder"
complains 'no/where: No such file'
[ -z "$(ls "$scratch/none")" ] || fail "it measures for nothing"
bench 1 "$folder" --svg /dev/full
complains 'No space left'
bench 2 --block 1000 "$folder"
complains '^sigevec bench: --block 1000: not a power of two from 512 to 16M$'
bench 2 --rounds 0 "$folder"
complains '^sigevec bench: --rounds 0: not a number from 1 to 1000$'
bench 2 --seconds x "$folder"
complains '^sigevec bench: --seconds x: not a number of seconds from 0.01 to 3600$'
bench 2 "$folder" "$folder"
finish
