#!/bin/bash
# SPDX-License-Identifier: MIT
# The installed headers: <sigevec.h>, <aio.h>, <signal.h> and <mqueue.h> in every order, in every language we promise,
# without a warning; our members are there; the layout stays libc's.
. "$(dirname "$0")/common.sh"
install_copy
flags=$(pkg-config --cflags sigevec) || fail "pkg-config --cflags sigevec"
strict="-Wall -Wextra -pedantic -Werror -fsyntax-only"
here=$top_srcdir/tests/build

# Every order of the words given.
orders() {
	local i first
	[ $# -gt 1 ] || { echo "$1"; return; }
	for ((i = 1; i <= $#; i++)); do
		first=${!i}
		orders "${@:1:i-1}" "${@:i+1}" | sed "s/^/$first /"
	done
}

# compiles FILE COMMAND...
compiles() {
	local file=$1
	shift
	"$@" $strict $flags "$file" 2>"$scratch/errors" && return
	fail "$*: $(tr '\n' ' ' <"$file")"
	head -n 15 "$scratch/errors"
}

c_standards=("-std=c11" "-std=c11 -D_GNU_SOURCE" "-std=c17" "-std=gnu17 -D_FILE_OFFSET_BITS=64")
cpp_standards=("-std=c++17" "-std=c++20")

# by_each_compiler FILE N: a copy of it in C and in C++, in the Nth standard of each
by_each_compiler() {
	local compiler
	cp "$1.c" "$1.cc"
	for compiler in gcc clang; do
		command -v $compiler >/dev/null && compiles "$1.c" $compiler ${c_standards[$2 % ${#c_standards[@]}]}
	done
	for compiler in g++ clang++; do
		command -v $compiler >/dev/null && compiles "$1.cc" $compiler ${cpp_standards[$2 % ${#cpp_standards[@]}]}
	done
}

# in_every_language FILE: the same in all standards
in_every_language() {
	local standard
	for standard in "${!c_standards[@]}"; do by_each_compiler "$1" "$standard"; done
}

# What one header says decides what the next one sees, whatever the standard: each order is compiled in one of them, by every
# compiler. The first order is, alone, in all of them, as is each header.
count=0
while read -r order; do
	count=$((count + 1))
	for header in $order; do echo "#include <$header>"; done >"$scratch/order$count.c"
	echo "#include \"$here/members.c\"" >>"$scratch/order$count.c"
	if [ $count = 1 ]; then in_every_language "$scratch/order$count"; else by_each_compiler "$scratch/order$count" $((count + count / 4)); fi
done < <(orders sigevec.h aio.h signal.h mqueue.h)
echo "$count orders"

# Each header compiles alone, and so does <aio.h> through the wrapper.
includedir=$(cd "$(dirname "$(find "$installed_root" -name sigevec.h)")" && pwd)
for header in aio.h sigevec.h $(cd "$includedir" && echo sigevec/*.h); do
	alone=$scratch/alone-${header//\//-}
	echo "#include <$header>" >"$alone.c"
	in_every_language "$alone"
done

# <sigevec.hpp> is for C++20, with or without exceptions; so is each of its parts.
for header in $(cd "$includedir" && echo sigevec/*.hpp); do
	alone=$scratch/alone-${header//\//-}.cc
	echo "#include <$header>" >"$alone"
	for compiler in g++ clang++; do
		command -v $compiler >/dev/null && compiles "$alone" $compiler -std=c++20
	done
done
cat >"$scratch/coroutine.cc" <<'END'
#include <sigevec.hpp>
sigevec::task<ssize_t> transfer(sigevec::channel &ch, char *data)
{
	sigevec::result r = co_await ch.recv(0, data, 1);
	co_return r ? *co_await ch.write(1, data, r.size(), 0) : co_await transfer(ch, data);
}
sigevec::task<> all(sigevec::channel &ch)
{
	char data[8];
	co_await ch.send(1, data);
	co_await transfer(ch, data);
}
sigevec::result run(sigevec::channel &ch)
{
	sigevec::spawn(all(ch));
	return ch.run();
}
END
for compiler in g++ clang++; do
	command -v $compiler >/dev/null || continue
	for standard in -std=c++20 "-std=c++20 -fno-exceptions" "-std=c++20 -D_FILE_OFFSET_BITS=64"; do
		compiles "$scratch/coroutine.cc" $compiler $standard
	done
done

# layout LANGUAGE COMMAND...
layout() {
	local language=$1
	shift
	"$@" -o "$scratch/with-system" -D_GNU_SOURCE -x "$language" "$here/layout.c" &&
		"$@" -o "$scratch/with-ours" -D_GNU_SOURCE -DSIGEVEC $flags -x "$language" "$here/layout.c" ||
		fail "$1: layout.c does not compile"
	diff <("$scratch/with-system") <("$scratch/with-ours") || fail "$1: the layout is not libc's"
}
layout c "$CC"
layout c++ "$CXX"
finish
