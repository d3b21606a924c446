#!/bin/bash
# SPDX-License-Identifier: MIT
# bench/datapath measures every way there is: each row of its JSON file has figures that can be, and each chart is there.
. "$(dirname "$0")/common.sh"
[ -z "$SIGEVEC_SANITIZER" ] || skip "built with a sanitizer: fio cannot be preloaded"
for program in python3 fio ip; do
	command -v "$program" >/dev/null || skip "no $program"
done
[ -x "$top_builddir/bench_packets" ] || fail "there is no bench_packets"
unshare -n ip link add e0 type veth peer name e1 2>/dev/null || skip "no right to make network namespaces, or no virtual Ethernet devices"

cd "$top_builddir" || exit 99
timeout -k 1 300 "$top_srcdir/bench/datapath" --quick --queues 1,2 --file "$scratch" --output "$scratch/result" >"$scratch/table" 2>"$scratch/errors" </dev/null
status=$?
grep -q 'O_DIRECT, .*: exit status .*Invalid argument' "$scratch/table" && skip "no O_DIRECT in ${TMPDIR:-/tmp}"
[ "$status" = 0 ] || {
	cat "$scratch/table" "$scratch/errors"
	fail "exit status $status"
	finish
}
python3 - "$scratch/result" "$("$top_builddir/bench_packets" --list | tr '\n' ' ')" <<'END' || fail "the JSON file or the charts"
import json, os, sys
import xml.dom.minidom
folder, ways = sys.argv[1], sys.argv[2].split()
groups = json.load(open(os.path.join(folder, "datapath.json")))["groups"]
bad = []
engines = ["read/write", "glibc AIO", "libaio", "io_uring", "libsigevec"]
names = [g["name"] for g in groups]
for wanted in ("sequential read", "sequential write", "random read", "random write", "64 bytes, as", "64 bytes, 50000", "1500 bytes, as",
               "1500 bytes, 50000", "in turns", "by queues"):
    if sum(wanted in name for name in names) != 1:
        bad.append(f"no group {wanted}, or several: {names}")
for g in groups:
    latency = "O_DIRECT" in g["name"] or "a second" in g["name"]
    rows = [row["name"] for row in g["rows"]]
    if "O_DIRECT" in g["name"] and rows != engines or g["name"].startswith("packets") and "queues" not in g["name"] and rows != ways:
        bad.append(f"{g['name']}: {rows}")
    for row in g["rows"]:
        m = row["median"]
        if not (1 < m["rate"] < 1e9 and 0 <= m["cpu_us"] < 1e6 and len(row["runs"]) == 1):
            bad.append(f"{g['name']}, {row['name']}: {m}")
        if latency and not 0 < m["p50_us"] <= m["p99_us"] < 1e7 or not latency and "p50_us" in m:
            bad.append(f"{g['name']}, {row['name']}: {m}")
charts = sorted(name for name in os.listdir(folder) if name.endswith(".svg"))
for name in charts:
    xml.dom.minidom.parse(os.path.join(folder, name))
if len(charts) != len(groups):
    bad.append(f"{len(charts)} charts for {len(groups)} groups")
print("\n".join(bad))
sys.exit(1 if bad else 0)
END
[ "$(grep -c failed "$scratch/table")" = 0 ] || fail "the table: $(grep failed "$scratch/table")"
finish
