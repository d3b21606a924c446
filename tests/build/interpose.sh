#!/bin/bash
# SPDX-License-Identifier: MIT
# Under LD_PRELOAD every reference to a POSIX AIO name lands in libsigevec, whatever version of libc's symbol it asks for; so do
# mq_notify and its like, but for timers of the ABI of GLIBC_2.2.5, which stay libc's.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "it cannot be preloaded on its own"

echo 'int main(void) { return 0; }' >"$scratch/empty.c"
"$CC" -o "$scratch/empty" "$scratch/empty.c"
libc=$(ldd "$scratch/empty" | sed -n 's/.*libc\.so\.6 => \([^ ]*\).*/\1/p')
[ -n "$libc" ] || skip "no shared libc.so.6"

# name@VERSION, for every version that this libc has kept
sources="${source_names// /|}|${timer_names// /|}"
versions=$(readelf --dyn-syms -W "$libc" | awk '{ print $8 }' | sed 's/@@/@/' | grep -E "^((aio|lio)_[a-z0-9]*|$sources)@")
old_timers=
if [ "$(uname -m)" = x86_64 ]; then
	old_timers=$(echo "$versions" | grep '^timer_.*@GLIBC_2\.2\.5$')
	versions=$(echo "$versions" | grep -vxF "$old_timers")
fi

# expect_bindings PROGRAM NAMES: LD_DEBUG shows that each name is bound to our library
expect_bindings() {
	LD_BIND_NOW=1 LD_DEBUG=bindings LD_PRELOAD=$SIGEVEC_LIB "$1" 2>"$scratch/bindings" || fail "${1##*/}: exit $?"
	local name symbol
	for name in $2; do
		symbol="symbol \`${name%@*}'"
		[ "$name" = "${name%@*}" ] || symbol="$symbol [${name#*@}]"
		grep -qF "$1 [0] to $SIGEVEC_LIB [0]: normal $symbol" "$scratch/bindings" ||
			fail "${1##*/}: $name is not bound to libsigevec: $(grep -F "$symbol" "$scratch/bindings")"
	done
}

# refer VERSION NAMES: a program that refers to these
refer() {
	local version=$1 names=$2 name
	{
		for name in $names; do
			echo "extern void reference_${name%@*}(void);"
			echo "__asm__(\".symver reference_${name%@*},$name\");"
		done
		echo "void (*volatile const references[])(void) = {"
		for name in $names; do echo "reference_${name%@*},"; done
		echo "}; int main(void) { return references[0] == 0; }"
	} >"$scratch/refers-$version.c"
	"$CC" -o "$scratch/refers-$version" "$scratch/refers-$version.c" || fail "refers-$version.c does not link"
}

for version in $(echo "$versions" | sed 's/.*@//' | sort -u); do
	names=$(echo "$versions" | grep "@$version\$" | sort -u)
	refer "$version" "$names"
	expect_bindings "$scratch/refers-$version" "$names"
	echo "$version: $(echo $names | sed 's/@[^ ]*//g')"
done

if [ -n "$old_timers" ]; then
	refer old-timers "$old_timers"
	LD_BIND_NOW=1 LD_DEBUG=bindings LD_PRELOAD=$SIGEVEC_LIB "$scratch/refers-old-timers" 2>"$scratch/bindings" || fail "old timers: exit $?"
	grep -F "$scratch/refers-old-timers [0] to $SIGEVEC_LIB" "$scratch/bindings" && fail "a timer of GLIBC_2.2.5 is bound to libsigevec"
fi

# A program as it is written, with and without large files, and one that asks at run time.
cat >"$scratch/reads.c" <<'C'
#define _GNU_SOURCE
#include <aio.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

int main(int argc, char **argv)
{
	char text[4] = "";
	const struct aiocb *list[1];
	struct aiocb cb;
	Dl_info info;

	(void)argc;
	memset(&cb, 0, sizeof cb);
	cb.aio_fildes = open(argv[0], O_RDONLY);
	cb.aio_buf = text;
	cb.aio_nbytes = 4;
	list[0] = &cb;
	if (aio_read(&cb) != 0)
		return 1;
	while (aio_error(&cb) == EINPROGRESS)
		if (aio_suspend(list, 1, 0) != 0)
			return 2;
	if (aio_return(&cb) != 4 || memcmp(text, "\177ELF", 4) != 0)
		return 3;
	if (!dladdr(dlsym(RTLD_DEFAULT, "aio_read"), &info) || !strstr(info.dli_fname, "libsigevec.so"))
		return 4;
	return 0;
}
C
"$CC" -o "$scratch/reads" "$scratch/reads.c" && expect_bindings "$scratch/reads" "aio_read aio_error aio_suspend aio_return"
"$CC" -D_FILE_OFFSET_BITS=64 -o "$scratch/reads64" "$scratch/reads.c" &&
	expect_bindings "$scratch/reads64" "aio_read64 aio_error64 aio_suspend64 aio_return64"
finish
