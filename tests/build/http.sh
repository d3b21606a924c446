#!/bin/bash
# SPDX-License-Identifier: MIT
# examples/http_server as curl sees it: connections that stay open, ranges, a large file, errors, and many at once.
# Files and sockets come together in one event channel there.
. "$(dirname "$0")/common.sh"
command -v curl >/dev/null || skip "curl is not installed"
: "${HTTP_SERVER:=$top_builddir/examples/http_server}"
[ -x "$HTTP_SERVER" ] || skip "examples/http_server is not built"
root=$scratch/root
many=1000 # connections at once

mkdir -p "$root/folder"
echo "the first page" >"$root/index.html"
echo "in the folder" >"$root/folder/index.html"
echo "a name to be encoded" >"$root/a b%.txt"
echo "outside" >"$scratch/secret"
ln -s "$scratch/secret" "$root/link"
ln -s "$scratch" "$root/out"
mkfifo "$root/fifo"
: >"$root/empty"
head -c 100000 /dev/urandom >"$root/middle"
head -c 100000000 /dev/urandom >"$root/large"

ulimit -n "$(ulimit -Hn)"
[ "$(ulimit -n)" = unlimited ] || [ "$(ulimit -n)" -ge $((many + 100)) ] || many=$(($(ulimit -n) / 2 / 4 * 4))

"$HTTP_SERVER" "$root" >"$scratch/address" &
server=$!
trap 'kill -KILL $server; wait $server 2>/dev/null; rm -rf "$scratch"' EXIT
for _ in {1..100}; do
	[ -s "$scratch/address" ] && break
	sleep 0.05
done
url=$(cat "$scratch/address")
[ -n "$url" ] || {
	fail "the server does not start"
	finish
}

alive() {
	kill -0 $server 2>/dev/null && return
	fail "the server has ended, at: $1"
	finish
}

get() {
	timeout -k 5 100 curl --silent --show-error --noproxy '*' --max-time 90 "$@"
}

# expect STATUS PATH CURL-OPTION...: the body is in $scratch/body, the head in $scratch/head
expect() {
	local status=$1 path=$2 got
	shift 2
	got=$(get --path-as-is -o "$scratch/body" -D "$scratch/head" -w '%{http_code}' "$@" "$url$path") || fail "curl $* $path"
	[ "$got" = "$status" ] || fail "$path${*:+ with $*}: $got instead of $status"
	alive "$path"
}

# same FILE: the body is exactly this
same() {
	cmp -s "$scratch/body" "$1" || fail "the body is not ${1##*/}: $(stat -c %s "$scratch/body" "$1" | xargs)"
}

has() {
	tr -d '\r' <"$scratch/head" | grep -qix "$1" || fail "no $1 in: $(tr '\r\n' ' ' <"$scratch/head")"
}

# --- files and names ----------------------------------------------------------------------------------------------------
expect 200 '' && same "$root/index.html" && has 'Content-Type: text/html.*'
expect 200 folder/ && same "$root/folder/index.html"
expect 200 'a%20b%25.txt?query=1' && same "$root/a b%.txt"
expect 200 ./folder//./index.html && same "$root/folder/index.html"
for path in ../secret %2e%2e/secret folder/../../secret folder/..%2f..%2fsecret link out/secret out/ fifo folder none '%20'; do
	expect 404 "$path"
	grep -q outside "$scratch/body" && fail "$path leads out of the folder"
done
for path in %zz %4 %00 index.html%00.txt; do expect 400 "$path"; done
expect 200 empty && has 'Content-Length: 0' && [ ! -s "$scratch/body" ] || fail "the empty file"
expect 405 index.html -X POST && has 'Allow: GET, HEAD'
expect 400 index.html -H 'Host:'
expect 400 index.html -X GET -d 'a body'
expect 431 index.html -H "Long: $(printf '%9000s' x)"

# --- HEAD, ranges ---------------------------------------------------------------------------------------------------------
expect 200 middle --head && has 'Content-Length: 100000' && has 'Accept-Ranges: bytes'
expect 404 none --head

# range RANGE FIRST LENGTH
range() {
	expect 206 middle -r "$1"
	tail -c "+$(($2 + 1))" "$root/middle" | head -c "$3" >"$scratch/part"
	same "$scratch/part"
	has "Content-Range: bytes $2-$(($2 + $3 - 1))/100000" && has "Content-Length: $3"
}
range 0-0 0 1
range 0-9 0 10
range 99990- 99990 10
range 500-700000 500 99500
range -7 99993 7
range -700000 0 100000
for outside in 100000- 100000-100001 99999999999999999999-; do
	expect 416 middle -r "$outside" && has 'Content-Range: bytes \*/100000'
done
expect 416 empty -r 0-0
for odd in 'bytes=5-2' 'bytes=a-b' 'lines=1-2' 'bytes=0-1,5-6' 'bytes=-'; do
	expect 200 middle -H "Range: $odd" && same "$root/middle"
done
expect 200 middle -r 0-9 -H 'If-Range: "tag"' && same "$root/middle"

# --- connections that stay open ---------------------------------------------------------------------------------------------
new=$(get -o /dev/null -o /dev/null -o /dev/null -o /dev/null -w '%{num_connects} ' "$url" "${url}none" "${url}middle" "${url}empty")
[ "$new" = "1 0 0 0 " ] || fail "connections made for four requests one after the other: $new"
new=$(get -o /dev/null -o /dev/null -w '%{num_connects} ' -H 'Connection: close' "$url" "$url")
[ "$new" = "1 1 " ] || fail "connections made with Connection: close: $new"
new=$(get -0 -o /dev/null -o /dev/null -w '%{num_connects} ' "$url" "$url")
[ "$new" = "1 1 " ] || fail "connections made with HTTP/1.0: $new"

port=${url##*:}
exec 9<>"/dev/tcp/127.0.0.1/${port%/}"
printf 'GET / HTTP/1.1\r\nHost: x\r\n\r\nHEAD /middle HTTP/1.1\r\nHost: x\r\n\r\nGET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' >&9
timeout 20 cat <&9 >"$scratch/pipelined"
exec 9>&-
[ "$(grep -oaE '^HTTP/1.1 [0-9]+' "$scratch/pipelined" | xargs)" = "HTTP/1.1 200 HTTP/1.1 200 HTTP/1.1 404" ] ||
	fail "three pipelined requests: $(head -c 300 "$scratch/pipelined")"

# --- a large file, to two at once -------------------------------------------------------------------------------------------
get -o "$scratch/second" "${url}large" &
second=$!
expect 200 large && same "$root/large"
wait $second && cmp -s "$scratch/second" "$root/large" || fail "the second copy of the large file is another one"
rm -f "$scratch/second"
expect 206 large -r 50000000-50000099 && has 'Content-Range: bytes 50000000-50000099/100000000'

# --- many connections: each has sent half of a request, and gets its answer when all of them are open -----------------------
port=${port%/}
sockets() {
	find "/proc/$server/fd" -lname 'socket:*' 2>/dev/null | wc -l
}
open=()
for ((i = 0; i < many; i++)); do
	exec {one}<>"/dev/tcp/127.0.0.1/$port" || break
	printf 'GET /folder/ HTTP/1.1\r\nHost: x\r\nConn' >&"$one"
	open+=("$one")
done
for _ in {1..200}; do
	[ "$(sockets)" -gt $many ] && break
	alive "many connections"
	sleep 0.1
done
[ "$(sockets)" -gt $many ] || fail "$(sockets) connections and the listener, instead of $many"
expect 200 '' && same "$root/index.html"
right=0
for one in "${open[@]}"; do printf 'ection: close\r\n\r\n' >&"$one"; done
for one in "${open[@]}"; do
	mapfile -t -u "$one" answer # up to the end: the server closes
	[ "${answer[-1]}" = "in the folder" ] && right=$((right + 1))
	exec {one}>&-
done
[ $right = $many ] || fail "$right of $many connections got the right answer"

# --- many at once, as fast as they can ---------------------------------------------------------------------------------------
mkdir "$scratch/many"
curls=()
for i in 1 2 3 4; do
	get --parallel --parallel-immediate --parallel-max $((many / 4)) \
		-o "$scratch/many/$i-#1" "${url}middle?[1-$((many / 4))]" 2>"$scratch/errors$i" &
	curls+=($!)
done
for i in 1 2 3 4; do
	wait "${curls[i - 1]}" || fail "a curl of many: $(head -n 3 "$scratch/errors$i")"
done
right=0
for file in "$scratch"/many/*; do cmp -s "$file" "$root/middle" && right=$((right + 1)); done
[ $right = $many ] || fail "$right of $many files are right"
expect 200 '' && same "$root/index.html"
echo "$many connections at once"
finish
