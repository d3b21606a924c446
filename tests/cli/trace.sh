#!/bin/bash
# SPDX-License-Identifier: MIT
# `sigevec trace': every request of a program and its children is told, with its way; as lines, for viewers and as a page.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "it cannot be preloaded on its own"
[ -w /dev/shm ] || skip "there is no /dev/shm to write to"
compile user
head -c 65536 /dev/zero >"$scratch/data"

trace() {
	local expected=$1
	shift
	ends "$expected" "$SIGEVEC_TOOL" trace "$@"
}
number='[0-9.e+]+ [mun]?s'

trace 3 "$scratch/user" --reads 200 --exit 3 "$scratch/data"
[ "$(grep -cE "^ +[0-9.]+ +[0-9]+ read +fd=[0-9]+ length=4096 offset=0 result=4096 took=$number:.* ended by [a-z]+ \+$number\$" "$scratch/err")" = 200 ] ||
	fail "not 200 requests: $(tail -n 5 "$scratch/err")"
complains '^requests 200, not ended 0, processes 1, steps lost 0$'

# Each engine says that it was given the request, and when it began with it.
trace 0 --engine threads "$scratch/user" --reads 7 "$scratch/data"
[ "$(grep -cE ": queued \+$number, given to threads \+$number, begun by threads \+$number, ended by threads \+$number\$" "$scratch/err")" = 7 ] ||
	fail "the way by the threads is another: $(cat "$scratch/err")"
if "$SIGEVEC_TOOL" info --json | python3 -c 'import json, sys; sys.exit(not [e for e in json.load(sys.stdin)["engines"] if e["name"] == "uring" and e.get("works", e.get("available"))])' 2>/dev/null; then
	trace 0 --engine uring "$scratch/user" --reads 7 "$scratch/data"
	[ "$(grep -cE 'given to uring .* begun by uring ' "$scratch/err")" = 7 ] || fail "the way by io_uring is another: $(cat "$scratch/err")"
fi

# A request that is pending at the end has no end; children have their own.
trace 134 "$scratch/user" --crash "$scratch/data"
complains '^requests 11, not ended 1, processes 1, steps lost 0$'
complains 'read .* result=\? '
trace 0 -o "$scratch/text" "$scratch/user" --fork --reads 5 "$scratch/data"
[ ! -s "$scratch/err" ] || fail "--output says something on the terminal as well"
tail -n 1 "$scratch/text" | grep -qx 'requests 15, not ended 0, processes 2, steps lost 0' || fail "a child: $(tail -n 1 "$scratch/text")"
[ "$(awk '{ print $2 }' "$scratch/text" | grep -cE '^[0-9]+$')" = 15 ] || fail "not 15 lines"

# A ring that is too small loses steps, says so, and what it tells is true.
trace 0 --steps 1024 "$scratch/user" --reads 60000 "$scratch/data"
python3 - "$scratch/err" <<'END' || fail "not everything is there or counted as lost: $(tail -n 1 "$scratch/err")"
import re, sys
*lines, last = open(sys.argv[1]).read().splitlines()
requests, open_, lost = map(int, re.fullmatch(r"requests (\d+), not ended (\d+), processes 1, steps lost (\d+)", last).groups())
assert len(lines) == requests and requests * 2 - open_ + lost >= 60000, last
assert all(re.search(r" length=(4096|0) offset=0 result=(4096|\?) ", line) for line in lines)
END

# --- channels: the reading of an event is a step
"$CC" -I"$top_srcdir/include/sigevec/system" -I"$top_srcdir/include" -o "$scratch/channels" "$cli_dir/channel_user.c" "$SIGEVEC_LIB" \
	-Wl,-rpath,"$(dirname "$(realpath "$SIGEVEC_LIB")")" || fail "channel_user.c does not compile"
trace 0 "$scratch/channels"
complains "recv .* ended by [a-z]+ \+$number, read \+$number\$"

# --- for viewers
trace 0 --json -o "$scratch/out" "$scratch/user" --reads 20 "$scratch/data"
is_json
json 'd["lostSteps"] == 0 and len([e for e in d["traceEvents"] if e["ph"] == "b" and e["name"] == "read"]) == 20'
json '[e["args"]["name"] for e in d["traceEvents"] if e["ph"] == "M"] == ["user"]'
python3 - "$scratch/out" <<'END' || fail "spans are not nested"
import json, sys
open_ = {}
for e in json.load(open(sys.argv[1]))["traceEvents"]:
    stack = open_.setdefault(e.get("id"), [])
    if e["ph"] == "b":
        assert not stack or e["ts"] >= stack[-1]["ts"], e
        assert stack or e["args"]["result"] == "4096", e
        stack.append(e)
    elif e["ph"] == "e":
        begin = stack.pop()
        assert begin["name"] == e["name"] and begin["ts"] <= e["ts"], e
assert not any(open_.values())
END

# --- a page
name=$scratch/'p<script>alert(1)'
cp "$scratch/user" "$name"
trace 0 --html -o "$scratch/page.html" "$name" --reads 20 "$scratch/data"
grep -qF 'p&lt;script&gt;' "$scratch/page.html" || fail "the program's name is not in the page"
! grep -qF '<script>alert(1)' "$scratch/page.html" || fail "a program's name is a script"
! grep -qE '(src|href)=|https?:' "$scratch/page.html" || fail "the page needs something else"
[ "$(grep -cE '^\[[0-9]+,[0-9]+,0,[0-9]+,4096,0,"4096",\[\[' "$scratch/page.html")" = 20 ] || fail "not 20 requests in the page"
python3 - "$scratch/page.html" <<'END' || fail "the page's elements are not closed"
import html.parser, sys
class Parser(html.parser.HTMLParser):
    stack = []
    def handle_starttag(self, tag, attributes):
        if tag not in ("meta",):
            self.stack.append(tag)
    def handle_endtag(self, tag):
        assert self.stack.pop() == tag, tag
p = Parser()
p.feed(open(sys.argv[1]).read())
assert not p.stack, p.stack
END

# --- what cannot be
trace 0 true
complains 'it has not used the library'
complains '^requests 0, not ended 0, processes 0, steps lost 0$'
for form in --json --html; do
	trace 0 $form -o "$scratch/out" true
done
trace 127 "$scratch/nothing"
trace 125 -o "$scratch/no/where" touch "$scratch/started"
[ ! -e "$scratch/started" ] || fail "the program has run though its trace could not be written"
trace 2
complains '^sigevec trace: PROGRAM: none is named$'
trace 2 --json --html touch "$scratch/started"
complains '^sigevec trace: --html: one form excludes the other$'
[ ! -e "$scratch/started" ] || fail "the program has run though the options were wrong"
trace 2 --steps 10 true
complains '^sigevec trace: --steps 10: not a number from 1024 to 16777216$'
trace 2 --engine steam true
for left in /dev/shm/sigevec-"$(id -u)"/run.*; do
	[ ! -d "$left" ] || [ -n "$(ls "$left")" ] || fail "trace leaves $left"
done

# --- the variable: the file is larger, `stat' reads it as any other, and nothing is taken from a file that all share
mkdir "$scratch/folder"
SIGEVEC_STATS=$scratch/folder/ SIGEVEC_TRACE=5000 LD_PRELOAD=$SIGEVEC_LIB "$scratch/user" --reads 30 "$scratch/data"
SIGEVEC_STATS=$scratch/shared SIGEVEC_TRACE=5000 LD_PRELOAD=$SIGEVEC_LIB "$scratch/user" --reads 30 "$scratch/data"
file=$(echo "$scratch"/folder/*)
[ $(($(stat -c %s "$file") - $(stat -c %s "$scratch/shared"))) = $((4096 + 4096 * 64)) ] || fail "the trace has another size"
for f in "$file" "$scratch/shared"; do
	ends 0 "$SIGEVEC_TOOL" stat --json "$f"
	is_json
	json 'sum(r["requests"] for r in d["requests"]) == 30'
done
finish
