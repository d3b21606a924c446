#!/bin/bash
# SPDX-License-Identifier: MIT
# `sigevec check' of what somebody else has made: it ends, soon and with little memory, and starts nothing of it.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "its memory is limited here"
compile user
compile lib.so -DLIBRARY -shared -fPIC -Wl,-soname,libneeded.so
compile needing -DNO_AIO -Wl,--no-as-needed "$scratch/lib.so" -Wl,-rpath,"$scratch/rpath"
mkdir "$scratch/rpath"

# check STATUS WORD...: within 256 MiB, and long before `make check' would end it
check() {
	local expected=$1
	shift
	ends "$expected" bash -c 'ulimit -c 0 -v 262144; exec timeout -k 1 60 "$@"' - "$SIGEVEC_TOOL" check "$@"
	[ "$(wc -c <"$scratch/out")" -lt 1000000 ] || fail "check $*: $(wc -c <"$scratch/out") bytes"
}

# A library's name that leads to something else.
as_library() {
	check 1 "$scratch/needing"
	says 'libneeded\.so was not found'
	rm -rf "$scratch/rpath/libneeded.so"
}
mkfifo "$scratch/rpath/libneeded.so" && as_library
mkdir "$scratch/rpath/libneeded.so" && as_library
ln -s /dev/zero "$scratch/rpath/libneeded.so" && as_library
ln -s libneeded.so "$scratch/rpath/libneeded.so" && as_library
: >"$scratch/rpath/libneeded.so" && as_library
if mknod "$scratch/rpath/libneeded.so" c 1 5 2>/dev/null; then as_library; fi
# Behind it is the right one.
mkfifo "$scratch/rpath/libneeded.so"
mkdir "$scratch/other"
cp "$scratch/lib.so" "$scratch/other/libneeded.so"
LD_LIBRARY_PATH=$scratch/other check 0 "$scratch/needing"
says '^  aio_read.*	.*/other/libneeded\.so$'
rm "$scratch/rpath/libneeded.so"

# A program's name, and what runs a script.
mkfifo "$scratch/fifo"
check 2 "$scratch/fifo"
check 2 /dev/null
for what in "$scratch/fifo" /dev/zero "$scratch/rpath"; do
	printf '#!%s\n' "$what" >"$scratch/script"
	chmod +x "$scratch/script"
	check 2 "$scratch/script"
done
head -c 100000000 /dev/zero | tr '\0' 'x' | sed 's/^/#!/' >"$scratch/script"
check 2 "$scratch/script"

# Where the libraries are, in words of the program's.
compile origin -DNO_AIO -Wl,--no-as-needed "$scratch/lib.so" '-Wl,-rpath,$ORIGIN/other'
check 0 "$scratch/origin"
says '/other/libneeded\.so$'
compile old-rpath -DNO_AIO -Wl,--no-as-needed "$scratch/lib.so" -Wl,--disable-new-dtags,-rpath,"$scratch/other"
check 0 "$scratch/old-rpath"

# What the dynamic linker finds is what is found: of every program here that can be asked.
for program in /bin/bash /usr/bin/python3 "$SIGEVEC_TOOL" /usr/bin/gdb /usr/bin/qemu-system-x86_64; do
	[ -x "$program" ] || continue
	ldd "$program" 2>/dev/null | grep -q 'not found' && continue
	"$SIGEVEC_TOOL" check "$program" >"$scratch/out"
	! grep 'was not found' "$scratch/out" || fail "not everything of $program is found"
done

# Holes: most of a file is not there.
cp "$scratch/none" "$scratch/sparse" 2>/dev/null || { compile none -DNO_AIO && cp "$scratch/none" "$scratch/sparse"; }
if truncate -s 1T "$scratch/sparse" 2>/dev/null; then
	check 1 "$scratch/sparse"
	says '^uses POSIX AIO: no$'
	printf '\0aio_read\0' >>"$scratch/sparse"
	check 1 "$scratch/sparse"
	says '^uses POSIX AIO: perhaps'
fi

# Tables as large as their lengths can say, names that are long, symbols that are all the same, entries that lead in a circle.
if command -v python3 >/dev/null; then
	python3 "$cli_dir/hostile_elf.py" "$scratch" || fail "hostile_elf.py"
	for file in "$scratch"/elf-*; do
		chmod +x "$file"
		check 1 "$file"
		cp "$file" "$scratch/rpath/libneeded.so"
		"$SIGEVEC_TOOL" check "$scratch/needing" >"$scratch/out" 2>&1
		[ $? -le 1 ] || fail "$file as a library: $(head -c 300 "$scratch/out")"
	done
	rm -f "$scratch/rpath/libneeded.so"
fi

# Without memory there is a message and the status of an error.
(ulimit -c 0 -v 30000; exec "$SIGEVEC_TOOL" --version) >/dev/null 2>&1 &&
	for limit in 30000 40000 60000 90000; do
		(ulimit -c 0 -v $limit; exec "$SIGEVEC_TOOL" check "$scratch/elf-strings") >"$scratch/out" 2>"$scratch/err"
		case $? in
		1) ;;
		2) complains 'not enough memory' ;;
		*) fail "with $limit KiB check ends with $?: $(cat "$scratch/err")" ;;
		esac
	done

# No code of the program's, nor of its libraries', is run.
cat >"$scratch/ran.c" <<END
#include <fcntl.h>
#include <unistd.h>
static int value(void) { return 1; }
static void *resolve(void) { creat("$scratch/ran", 0600); return value; }
int function(void) __attribute__((ifunc("resolve")));
__attribute__((constructor)) static void begin(void) { creat("$scratch/ran", 0600); }
int use(void) { return function(); }
int main(void) { return use(); }
END
"$CC" -shared -fPIC -w -Wl,-z,now -o "$scratch/rpath/libneeded.so" "$scratch/ran.c" || fail "ran.c does not compile"
"$CC" -w -Wl,-z,now -o "$scratch/ran-program" "$scratch/ran.c" || fail "ran.c does not compile"
LD_BIND_NOW=1 LD_WARN=1 check 1 "$scratch/needing"
LD_BIND_NOW=1 LD_WARN=1 check 1 "$scratch/ran-program"
[ ! -e "$scratch/ran" ] || fail "code of the program has run"
# Its interpreter neither.
printf '#!/bin/sh\ntouch %s\n' "$scratch/ran" >"$scratch/ld-linux-x86-64.so.2"
chmod +x "$scratch/ld-linux-x86-64.so.2"
compile own-interpreter -Wl,--dynamic-linker="$scratch/ld-linux-x86-64.so.2"
"$SIGEVEC_TOOL" check "$scratch/own-interpreter" >/dev/null 2>&1
[ ! -e "$scratch/ran" ] || fail "the program's interpreter has run"
finish
