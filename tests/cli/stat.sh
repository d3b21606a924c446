#!/bin/bash
# SPDX-License-Identifier: MIT
# Statistics: what is counted is what was done; a process has a file of its own, removed at its exit and kept at its crash; and
# `sigevec stat' and `sigevec run --stats' tell of it.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "it cannot be preloaded on its own"
[ -w /dev/shm ] || skip "there is no /dev/shm to write to"
compile user
head -c 65536 /dev/zero >"$scratch/data"
export SIGEVEC_STATS=1
user() {
	LD_PRELOAD=$SIGEVEC_LIB "$scratch/user" "$@" "$scratch/data"
}
stat() {
	local expected=$1
	shift
	ends "$expected" "$SIGEVEC_TOOL" stat "$@"
}

# --- run --stats

unset SIGEVEC_STATS
ends 3 "$SIGEVEC_TOOL" run --stats -- "$scratch/user" --reads 700 --exit 3 "$scratch/data"
complains '^.*user: 1 process$'
complains '^read +(inline|uring|threads) +(file|memory) +700 +0 +2\.7 MiB +[0-9.]+ [mun]?s'
complains '^outstanding: none$'
complains '^requests 700$'
complains '^completions 700$'
ends 0 "$SIGEVEC_TOOL" run --stats=json -o "$scratch/out.json" "$scratch/user" --fork --reads 5 "$scratch/data"
[ ! -s "$scratch/err" ] || fail "--output says something on the terminal as well"
cp "$scratch/out.json" "$scratch/out"
is_json
json 'd["processes"] == 2 and d["counters"]["requests"] == 15 and sum(r["requests"] for r in d["requests"]) == 15'
json 'sum(r["bytes"] for r in d["requests"]) == 15 * 4096'
json 'all(r["p50_ns"] is None or r["p50_ns"] <= r["p99_ns"] <= r["max_ns"] for r in d["requests"])'
ends 0 "$SIGEVEC_TOOL" run --engine threads --stats "$scratch/user" --reads 20 "$scratch/data"
complains '^read +threads +file +20 '
complains '^threads_done 20$'
ends 134 "$SIGEVEC_TOOL" run --stats "$scratch/user" --crash "$scratch/data"
complains '^outstanding: 1 read of fifo$'
ends 0 "$SIGEVEC_TOOL" run --stats true
complains 'has not used the library'
ends 127 "$SIGEVEC_TOOL" run --stats "$scratch/nothing"
ends 2 "$SIGEVEC_TOOL" run --stats=xml true
ends 2 "$SIGEVEC_TOOL" run -o "$scratch/out.json" true
own=/dev/shm/sigevec-$(id -u)
for left in "$own"/run.*; do
	[ ! -d "$left" ] || [ -n "$(ls "$left")" ] || fail "run --stats leaves $left"
done
export SIGEVEC_STATS=1

# --- a process's own file

LD_PRELOAD=$SIGEVEC_LIB "$scratch/user" "$scratch/data" &
pid=$!
wait $pid
[ ! -e "$own/$pid" ] || fail "the file is still there after the exit"
stat 1 $pid
complains 'no such process'

ulimit -c 0
LD_PRELOAD=$SIGEVEC_LIB "$scratch/user" --crash "$scratch/data" >/dev/null 2>&1 &
pid=$!
wait $pid 2>/dev/null
stat 0 --list
says "^ *$pid user +ended "
file=$own/$pid
[ "$(command stat -c %a "$own")" = 700 ] || fail "$own is for others as well"
[ "$(command stat -c %a "$file")" = 600 ] || fail "$file is for others as well"
stat 0 "$pid"
says "^pid $pid \(user\), ended"
says '^read .* 10 +0 +40\.0 KiB'
says '^outstanding: 1 read of fifo$'
says '^requests 11$'
no_line_over 80
! grep -q '^cancelled ' "$scratch/out" || fail "counters of 0 are told without --all"
stat 0 --all "$pid"
says '^cancelled 0$'
stat 0 "$pid" 0.01 5
[ "$(grep -c ^pid "$scratch/out")" = 1 ] || fail "a process that has ended is looked at again"
# Its number belongs to a process that lives: another one. 1 lives always.
cp "$file" "$scratch/other"
printf '\001\000\000\000' | dd of="$scratch/other" bs=1 seek=20 conv=notrunc status=none
stat 0 "$scratch/other"
says '^pid 1 \(user\), ended'
rm "$file"

for others in '--clear --json' '--clear --list' '--clear --all' '--list --all'; do
	# shellcheck disable=SC2086
	stat 2 $others
done

# Children that end by _exit leave theirs; not more than some.
for i in $(seq 24); do
	user --reads 1 --quick-exit
done
left=$(for f in "$own"/[0-9]*; do [ -e "/proc/${f##*/}" ] || echo; done | wc -l)
[ "$left" -ge 1 ] && [ "$left" -le 18 ] || fail "$left files are left behind"
stat 0 --clear
for f in "$own"/[0-9]*; do
	[ ! -e "$f" ] || [ -e "/proc/${f##*/}" ] || fail "--clear leaves $f"
done

# A child has a file of its own, and leaves its parent's alone.
mkdir "$scratch/folder"
SIGEVEC_STATS=$scratch/folder/ user --reads 3 --fork
[ "$(ls "$scratch/folder" | wc -l)" = 2 ] || fail "parent and child have $(ls "$scratch/folder" | wc -l) files"
for f in "$scratch/folder"/*; do
	stat 0 "$f"
	sed -n 's/^requests //p' "$scratch/out"
done | sort -n | tr '\n' ' ' >"$scratch/requests"
[ "$(cat "$scratch/requests")" = "3 6 " ] || fail "requests of parent and child: $(cat "$scratch/requests")"

# A file with a name is shared, and goes on.
for i in 1 2; do
	SIGEVEC_STATS=$scratch/named user --fork --reads 4
done
stat 0 --all "$scratch/named"
says '^requests 24$'
says '^uring_done 0$'
for off in 0 ""; do
	(cd "$scratch" && SIGEVEC_STATS=$off user)
	[ ! -e "$scratch/0" ] || fail "SIGEVEC_STATS=$off makes a file"
done
# What is not ours is not written to.
echo precious >"$scratch/precious"
SIGEVEC_STATS=$scratch/precious user
[ "$(cat "$scratch/precious")" = precious ] || fail "another file was written over"
ln -s "$scratch/precious" "$scratch/link"
SIGEVEC_STATS=$scratch/link user || fail "the program minds that there are no statistics"
stat 1 "$scratch/precious"
complains 'not a statistics file'
head -c 4096 "$scratch/named" >"$scratch/broken"
stat 1 "$scratch/broken"
stat 1 "$scratch"
stat 1 "$scratch/nothing"

# --- of a running program

coproc program { LD_PRELOAD=$SIGEVEC_LIB exec "$scratch/user" --reads 100 --hang "$scratch/data"; }
read -r pid <&"${program[0]}"
stat 0 "$pid"
says "^pid $pid \(user\), running"
says '^read .* 100 '
says '^outstanding: 1 read of fifo$'
stat 0 --list
says "^ *$pid user +running .* 101 $own/$pid\$"
no_line_over 80
stat 0 --list --json
is_json
json "[(p['state'], p['requests'], p['file']) for p in d if p['pid'] == $pid] == [('running', 101, '$own/$pid')]"
stat 0 --json "$pid" 0.02 3
[ "$(python3 -c 'import json, sys
print(len([json.loads(line) for line in open(sys.argv[1])]))' "$scratch/out")" = 3 ] || fail "not an object in each line"
stat 0 "$pid" 0.02 3
[ "$(grep -c '^pid' "$scratch/out")" = 3 ] || fail "not three tables"
says '^pid .*; the last 0\.[0-9] s'
says ' req/s +err/s +bytes/s '
no_line_over 80
stat 0 --json "$pid"
is_json
json 'd["outstanding"] == [{"operation": "read", "kind": "fifo", "requests": 1}] and d["pid"] == '"$pid"
stat 0 --clear
[ -e "$own/$pid" ] || fail "--clear removes the file of a process that runs"
eval "exec ${program[1]}>&-"
wait "$pid" 2>/dev/null
stat 1 $$
complains 'keeps no statistics'
SIGEVEC_STATS=$scratch/no/where/ sleep 1000 >/dev/null 2>&1 &
pid=$!
until [ "$(cat "/proc/$pid/comm")" = sleep ]; do :; done
stat 1 $pid
complains "it was started with SIGEVEC_STATS=$scratch/no/where/, but has not used the library yet, or could write nothing there"
kill $pid
wait $pid 2>/dev/null

# --- containers: processes with numbers of their own, and perhaps a /dev/shm of their own

# in_container COMMAND READS: a program that hangs and is number 1 of a new PID namespace, after COMMAND. Its number here is $outer,
# that of what ends with it $pid.
in_container() {
	: >"$scratch/inner"
	# shellcheck disable=SC2016 # for the inner shell
	unshare --pid --fork --mount-proc --mount bash -c "$1"'
		export LD_PRELOAD=$SIGEVEC_LIB
		exec "$@"' - "$scratch/user" --reads "$2" --hang "$scratch/data" <"$scratch/never" >"$scratch/inner" 2>/dev/null &
	pid=$!
	until [ -s "$scratch/inner" ]; do kill -0 $pid || break; done
	[ "$(cat "$scratch/inner")" = 1 ] || fail "the container's program is $(cat "$scratch/inner"), not 1"
	outer=$(pgrep -P $pid)
}
export SIGEVEC_LIB
mkfifo "$scratch/never"
exec {never}<>"$scratch/never"
if unshare --pid --fork --mount-proc --mount true 2>/dev/null; then
	runs=() programs=() files=()
	for reads in 30 40; do
		in_container true $reads
		runs+=("$pid") programs+=("$outer")
		stat 0 --json $outer
		is_json
		json "d['pid'] == $outer and d['counters']['requests'] == $reads + 1"
		stat 0 --list
		says "^ *$outer user +running .* $own/1@[0-9]+\$"
		files+=("$(sed -n "s,^ *$outer .* /,/,p" "$scratch/out")")
	done
	[ "${files[0]}" != "${files[1]}" ] || fail "two containers write to ${files[0]}"
	stat 0 --clear
	unshare --pid --fork --mount-proc "$SIGEVEC_TOOL" stat --list >"$scratch/out"
	says "^ *1 user +elsewhere .* ${files[0]}\$"
	unshare --pid --fork --mount-proc "$SIGEVEC_TOOL" stat --clear
	for i in 0 1; do
		[ -e "${files[i]}" ] || fail "--clear removes what a container writes to"
		kill -KILL "${programs[i]}"
		wait "${runs[i]}" 2>/dev/null
	done
	stat 0 --list
	says "^ *1 user +ended .* ${files[0]}\$"
	stat 0 --clear
	[ ! -e "${files[0]}" ] && [ ! -e "${files[1]}" ] || fail "--clear leaves what ended containers have left"
	in_container 'mount -t tmpfs none /dev/shm;' 50
	stat 0 --json $outer
	is_json
	json "d['pid'] == $outer and d['counters']['requests'] == 51"
	kill -KILL $outer
	wait $pid 2>/dev/null
else
	echo "no PID namespaces can be made here: containers are not tried"
fi
exec {never}>&-

# --- channels

"$CC" -I"$top_srcdir/include/sigevec/system" -I"$top_srcdir/include" -o "$scratch/channels" "$cli_dir/channel_user.c" "$SIGEVEC_LIB" \
	-Wl,-rpath,"$(dirname "$(realpath "$SIGEVEC_LIB")")" || fail "channel_user.c does not compile"
coproc program { exec "$scratch/channels"; }
read -r pid queue ring shared <&"${program[0]}"
stat 0 --json "$pid"
is_json
json "[(c['outstanding'], c['queued'], c['high_water'], c['limit'], c['delivered'], c['refused']) for c in d['channels'] if c['fd'] == $queue] == [(0, 3, 5, 5, 2, 1)]"
json "[(c['outstanding'], c['queued'], c['high_water'], c['delivered']) for c in d['channels'] if c['fd'] == $ring] == [(1, 0, 3, 2)]"
json "[(c['outstanding'], c['queued'], c['delivered'], c['dropped']) for c in d['channels'] if c['fd'] == $shared] == [(2, 1, 4, 0)]"
json "sum(r['requests'] for r in d['requests'] if r['operation'] == 'recv') == 5"
json 'd["outstanding"] == [{"operation": "recv", "kind": "socket", "requests": 3}]'
json 'd["counters"]["requests"] - d["counters"]["completions"] == 3'
stat 0 "$pid"
says "^fd $queue +$pid +0 +3 +5 +5 +2 +1 +0\$"
eval "exec ${program[1]}>&-"
wait "$pid" 2>/dev/null

stat 2
stat 2 "$pid" nonsense
complains '^sigevec stat: INTERVAL nonsense: not a number of seconds from 0.01 to 1000000$'
stat 2 "$pid" 1 0
complains '^sigevec stat: COUNT 0: not a number from 1 on$'
stat 2 --list --clear
stat 2 --list "$pid"
finish
