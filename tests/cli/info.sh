#!/bin/bash
# SPDX-License-Identifier: MIT
# `sigevec info' has a line for each engine, feature, limit and the module, a reason for each "no", and says the same as JSON.
. "$(dirname "$0")/common.sh"
refuse=$top_builddir/tests/tools/refuse-uring

ends 0 "$SIGEVEC_TOOL" info
for engine in inline kaio uring threads; do
	says "^engine $engine +(yes|no) +[^ ]"
done
for feature in io_uring defer-taskrun ring-zero-copy kernel-aio nowait-reads private-table pidfd-getfd wipe-on-fork futex-waitv zero-copy; do
	says "^kernel +$feature +(yes|no) +[^ ]"
done
for limit in threads requests ring idle dma memlock nofile; do
	says "^limit +$limit +([0-9]|unlimited)"
done
says '^module +/dev/sigevec +(yes|no) +[^ ]'
says '^library /.*libsigevec'
[ -e /dev/sigevec ] || says '^module .* no .*not loaded'

ends 0 "$SIGEVEC_TOOL" info --json
is_json
json '[e["name"] for e in d["engines"]] == ["inline", "kaio", "uring", "threads"]'
json 'all(x["reason"] for x in d["engines"] + d["features"] + [d["module"]])'
json 'all(isinstance(x["works"], bool) for x in d["engines"] + d["features"])'
json 'len(d["limits"]) >= 5'

ends 0 env SIGEVEC_THREADS=7 "$SIGEVEC_TOOL" info
says '^limit +threads +7 '
(
	ulimit -l 64
	"$SIGEVEC_TOOL" info
) >"$scratch/out"
says '^limit +memlock +65536 bytes'

ends 0 "$SIGEVEC_TOOL" info --device lo
says '^device +lo +no +[^ ]'
says '^device +lo +[0-9]+ queues'
says 'ethtool -G lo tcp-data-split on'
ends 0 "$SIGEVEC_TOOL" info --json --device lo
is_json
json 'd["device"] == "lo" and d["works"] is False and d["reason"] and len(d["commands"]) >= 3'
ends 1 "$SIGEVEC_TOOL" info --device nosuchdevice
ends 2 "$SIGEVEC_TOOL" info more
ends 2 "$SIGEVEC_TOOL" info --nonsense

"$refuse" --eperm true
[ $? != 77 ] || skip "the rest is not tested: no seccomp filter is allowed here"
ends 0 "$refuse" --eperm "$SIGEVEC_TOOL" info
says '^kernel +io_uring +no +(io_uring_setup: |kernel.io_uring_disabled)'
says '^kernel +defer-taskrun +no +there is no io_uring'
ends 0 "$refuse" --enosys "$SIGEVEC_TOOL" info
says '^kernel +io_uring +no +io_uring_setup: Function not implemented'
finish
