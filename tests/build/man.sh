#!/bin/bash
# SPDX-License-Identifier: MIT
# The manual pages: without fault, complete, and their examples build and run as they stand.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "a program without it cannot load the library"
man=$top_srcdir/man
export LD_LIBRARY_PATH=${SIGEVEC_LIB%/*}
shopt -s nullglob

# covered NAME: a page of that name, or one whose NAME section has it
covered() {
	[ -e "$man/$1.3" ] || grep -qE "^\.Nm $1( |\$)" "$man"/*.3
}

# Every function of the library's own has a page that answers to its name; those of POSIX have the system's, and one here; libevent's are libevent's.
ours=$(sed -n '/^SIGEVEC_PRIVATE/,/^}/d; /bufferevent_socket_new/d; s/^\t\([a-z_0-9]*\);$/\1/p' "$top_srcdir"/lib/libsigevec.map "$top_srcdir"/lib/glue/libsigevec_event.map "$top_srcdir"/lib/fabric/libsigevec_fabric.map)
[ -n "$ours" ] || fail "libsigevec.map names no function"
for name in $ours; do
	[ -e "$man/$name.3" ] || fail "$name has no page"
	covered "$name" || fail "$name is in no NAME section"
done
for name in $posix_names; do
	covered "$name" || grep -qE "^\.Fn $name( |\$)" "$man/sigevec_aio.3" || fail "$name is not in sigevec_aio(3)"
	[ ! -e "$man/$name.3" ] || fail "$name.3 would hide the system's page"
done

for name in $source_names $timer_names; do
	grep -qE "^(\.Fn|\.It .*Fn) .*$name( |\$)" "$man/sigevec_sources.7" || fail "$name is not in sigevec_sources(7)"
done

# Every variable that the library reads is in sigevec(7), and the other way round.
read_names=$(grep -rhoE '"SIGEVEC_[A-Z]+"' "$top_srcdir/lib" --include='*.cpp' --include='*.hpp' | tr -d '"' | sort -u)
told_names=$(sed -n 's/^\.It Ev \(SIGEVEC_[A-Z]*\)$/\1/p' "$man/sigevec.7" | sort -u)
[ "$read_names" = "$told_names" ] || fail "sigevec(7) has the variables" $told_names", the library reads" $read_names

# The tool's own variables and options are in sigevec(1).
for name in $(grep -rhoE '(getenv|setenv)\("[A-Z_]+"' "$top_srcdir/tools" --include='*.cpp' | sed 's/.*("//; s/"//' | sort -u); do
	grep -q "^\.It Ev $name\$" "$man/sigevec.1" "$man/sigevec.7" || fail "the variable $name is not explained"
done
for option in $(grep -rhoE '\{"[a-z]+", (no|required|optional)_argument' "$top_srcdir/tools" | cut -d'"' -f2 | sort -u); do
	grep -qE "^\.It Fl .*-$option( |\$)" "$man/sigevec.1" || [ "$option" = help ] || [ "$option" = version ] ||
		fail "sigevec(1) does not explain --$option"
done

# What the library exports beside libc's names is in its map, which the pages were checked against.
for name in $(nm -D --defined-only "$SIGEVEC_LIB" | sed -n 's/.* T \([a-z_0-9]*\)@@SIGEVEC.*/\1/p'); do
	case $name in sigevec_io_* | sigevec_fabric_host) continue ;; esac # libsigevec_aio's and libsigevec_fabric's alone
	covered "$name" || fail "$name is exported and has no page"
done

# Every counter is explained.
counters=$(sed -n '/names\[counters\] = {/,/};/s/^\t"\([a-z_]*\)",$/\1/p' "$top_srcdir/lib/runtime/stats.cpp")
[ -n "$counters" ] || fail "stats.cpp names no counter"
for name in $counters; do
	grep -qE "^\.It Li (.* )?$name( |\$)" "$man/sigevec_get_engine.3" || fail "the counter $name is not explained"
done

# extract PAGE: the first display of its EXAMPLES, as a terminal would show it
extract() {
	awk '/^\.Sh / { in_section = ($2 == "EXAMPLES") }
	     in_section && /^\.Ed/ { exit }
	     on { gsub(/\\e/, "\\"); sub(/^\\&/, ""); print }
	     in_section && /^\.Bd/ { on = 1 }' "$1"
}

for page in "$man"/*.3; do
	name=$(basename "$page" .3)
	# A name without a page of its own is a link, so that man(1) shows it in the tree, too.
	if [ -L "$page" ]; then
		grep -qE "^\.Nm $name( |\$)" "$page" || fail "$(readlink "$page") does not name $name, or is not there"
		continue
	fi
	grep -q '^\.so ' "$page" && fail "$name.3 shows nothing in the tree: make it a link to the page (ln -s)"
	extract "$page" >"$scratch/$name.c"
	grep -q 'int main' "$scratch/$name.c" || {
		fail "$name.3 has no complete example"
		continue
	}
	libraries=("$SIGEVEC_LIB")
	if grep -q 'sigevec/event\.h' "$scratch/$name.c"; then
		[ -e "${SIGEVEC_LIB%/*}/libsigevec_event.so.1" ] || continue # built without libevent
		libraries=("${SIGEVEC_LIB%/*}/libsigevec_event.so.1" "$SIGEVEC_LIB" -levent_core)
	fi
	if grep -qE 'fabric_open\(' "$scratch/$name.c"; then
		[ -e "${SIGEVEC_LIB%/*}/libsigevec_fabric.so.1" ] || continue # built without libfabric
		libraries=("${SIGEVEC_LIB%/*}/libsigevec_fabric.so.1" "$SIGEVEC_LIB")
	fi
	"$CC" -std=gnu11 -Wall -Wextra -pedantic -Werror -I"$top_srcdir/include/sigevec/system" -I"$top_srcdir/include" \
		-o "$scratch/$name" "$scratch/$name.c" "${libraries[@]}" || {
		fail "the example of $name.3 does not build"
		continue
	}
	# A queue of a network device is one program's at a time: this one has a device that nobody else knows, where that is allowed.
	run=(timeout 60)
	grep -q 'ether_open(' "$scratch/$name.c" && unshare -n ip link set lo up 2>/dev/null &&
		run=(unshare -n sh -c 'ip link set lo up && exec timeout 60 "$1"' sh)
	(cd "$scratch" && "${run[@]}" "./$name") >"$scratch/output" 2>&1
	status=$?
	[ "$status" = 0 ] || {
		cat "$scratch/output"
		fail "the example of $name.3 ended with $status"
	}
	[ -s "$scratch/output" ] || fail "the example of $name.3 says nothing"
done

# References to pages of this library lead somewhere.
while read -r name section; do
	[ -e "$man/$name.$section" ] || fail "a page refers to $name($section), which is not there"
done < <(sed -n 's/^\.Xr \(sigevec[a-z_]*\|ec_[a-z_]*\|ev_[a-z_]*\|sio_[a-z]*\|dma_[a-z]*\) \([1-8]\).*/\1 \2/p' "$man"/*.[1-8] | sort -u)

# What is in a list is installed; tests/build/lists.sh sees to the list.
if command -v mandoc >/dev/null; then
	for page in "$man"/*.[1-8]; do
		[ -L "$page" ] && continue
		mandoc -Tlint -Wwarning "$page" || fail "${page##*/} has faults"
	done
else
	echo "mandoc is not there: the pages are not checked for faults"
fi
finish
