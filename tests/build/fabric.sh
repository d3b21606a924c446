#!/bin/bash
# SPDX-License-Identifier: MIT
# examples/halo and examples/kv, each between processes of its own, by the lines that stand at their tops, and halo_mpi where there is an
# MPI; and what `sigevec info --fabric' says of the provider that they use.
. "$(dirname "$0")/common.sh"
[ -e "$top_builddir/libsigevec_fabric.la" ] || skip "built without libfabric"
export LD_LIBRARY_PATH=$top_builddir/.libs KV_NODE=127.0.0.1 HALO_NODE=127.0.0.1 KV_PROVIDER=tcp
halo=$top_builddir/examples/halo kv=$top_builddir/examples/kv
for program in "$halo" "$kv"; do
	[ -x "$program" ] || fail "there is no $program"
done

"$SIGEVEC_TOOL" info --fabric >"$scratch/info" || fail "info --fabric: exit $?"
"$SIGEVEC_TOOL" info --fabric --json >"$scratch/json" || fail "info --fabric --json: exit $?"
python3 -c 'import json, sys
for p in json.load(open(sys.argv[1]))["providers"]:
	assert p["reason"] and isinstance(p["works"], bool), p' "$scratch/json" || fail "info --fabric --json is not what it should be"
grep -q '^fabric  shm  *\(no\|yes\) .' "$scratch/info" || fail "info --fabric says nothing of shm: $(cat "$scratch/info")"
grep -q '^fabric  tcp;ofi_rxm  *yes ' "$scratch/info" || {
	[ "$failures" = 0 ] || finish
	skip "libfabric has no provider tcp;ofi_rxm here"
}

for parts in 1 2 5; do
	timeout -k 1 120 "$halo" $parts 50 >"$scratch/halo" 2>&1 || fail "halo $parts: exit $?"
	[ "$(grep -c ' 50 rounds, 0 cells wrong$' "$scratch/halo")" = $parts ] || fail "halo $parts: $(cat "$scratch/halo")"
done

# The same by MPI: mpich's, which starts its processes for root as well.
if command -v mpicc.mpich >/dev/null && command -v mpiexec.mpich >/dev/null; then
	mpicc.mpich "$top_srcdir/examples/halo_mpi.c" -o "$scratch/halo_mpi" 2>"$scratch/error" || fail "examples/halo_mpi: $(cat "$scratch/error")"
	timeout -k 1 120 mpiexec.mpich -n 3 "$scratch/halo_mpi" 50 >"$scratch/halo" 2>&1 || fail "halo_mpi: exit $?"
	[ "$(grep -c ' 50 rounds, 0 cells wrong$' "$scratch/halo")" = 3 ] || fail "halo_mpi: $(cat "$scratch/halo")"
else
	echo "examples/halo_mpi is not run: mpicc.mpich is not there (Debian package: mpich)"
fi

"$kv" serve "$scratch/table" colour=blue size=7 &
server=$!
for _ in {1..600}; do
	[ -e "$scratch/table" ] && break
	sleep 0.05
done
# Who has gone to sleep answers, too: no code of its runs for it but the library's.
answer=$(timeout -k 1 60 "$kv" get "$scratch/table" size colour) || fail "kv get: exit $?"
[ "$answer" = $'size=7\ncolour=blue' ] || fail "kv get: $answer"
timeout -k 1 60 "$kv" get "$scratch/table" weight 2>/dev/null && fail "kv get found what there is not"
kill -KILL $server
wait $server 2>/dev/null
timeout -k 1 60 "$kv" get "$scratch/table" size 2>"$scratch/error" && fail "kv get of a server that has been killed succeeds"
grep -q 'refused\|reset\|timed out\|route' "$scratch/error" || fail "of a killed server: $(cat "$scratch/error")"
finish
