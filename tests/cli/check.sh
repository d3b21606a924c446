#!/bin/bash
# SPDX-License-Identifier: MIT
# `sigevec check' tells what a file is, through which symbols it uses POSIX AIO, and whether the preload takes hold:
# exit status 0 for yes, 1 for no, 2 for an error.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "it cannot be preloaded on its own"
check() {
	local expected=$1
	shift
	ends "$expected" "$SIGEVEC_TOOL" check "$@"
}

compile user
check 0 "$scratch/user"
says 'user: dynamically linked program'
says '^uses POSIX AIO: yes$'
says '^  aio_read(@GLIBC_[0-9.]+)?	.*/user$'
says '^  aio_suspend'
says '^preload takes hold: yes; '
check 0 --json "$scratch/user"
is_json
json 'd["uses_aio"] and d["preload"] and "aio_read" in [s["name"] for s in d["symbols"]]'
compile user64 -D_FILE_OFFSET_BITS=64
check 0 "$scratch/user64"
says '^  aio_read'
PATH=$scratch:$PATH check 0 user
compile old-hash -Wl,--hash-style=sysv
check 0 "$scratch/old-hash"
says '^  aio_read'
cp "$scratch/user" "$scratch/stripped"
strip "$scratch/stripped" 2>/dev/null && check 0 "$scratch/stripped"

compile none -DNO_AIO
check 1 "$scratch/none"
says '^uses POSIX AIO: no$'
says '^preload takes hold: yes'

# A library may be the one that asks, and a library of a library.
mkdir "$scratch/lib"
compile lib/libuser.so -DLIBRARY -shared -fPIC
check 0 "$scratch/lib/libuser.so"
says 'shared library'
compile lib/libouter.so -DNO_AIO -shared -fPIC -Wl,--no-as-needed -L"$scratch/lib" -luser -Wl,-rpath,"$scratch/lib"
compile through -DNO_AIO -Wl,--no-as-needed -L"$scratch/lib" -louter -Wl,-rpath,"$scratch/lib"
check 0 "$scratch/through"
says '^  aio_read.*	.*/lib/libuser\.so$'
mv "$scratch/lib/libuser.so" "$scratch/lib/away"
check 1 "$scratch/through"
says 'libuser\.so was not found'

compile by-name -DNO_AIO -DBY_NAME
check 1 "$scratch/by-name"
says '^uses POSIX AIO: perhaps'
compile own -DOWN_AIO -rdynamic
check 1 "$scratch/own"
says '^preload takes hold: no; .*itself.*aio_read'

if compile static -static 2>/dev/null && [ -x "$scratch/static" ]; then
	check 1 "$scratch/static"
	says 'statically linked program'
	says '^preload takes hold: no; nothing can be preloaded'
fi

cp "$scratch/user" "$scratch/setuid"
chmod u+s "$scratch/setuid"
check 1 "$scratch/setuid"
says 'set-user-ID '
says '^preload takes hold: no; .*ignores'
cp "$scratch/user" "$scratch/setgid"
chmod g+s "$scratch/setgid"
check 1 "$scratch/setgid"
says 'set-group-ID'

# e_machine of a machine that this is not: SPARC.
cp "$scratch/user" "$scratch/foreign"
printf '\002\000' | dd of="$scratch/foreign" bs=1 seek=18 conv=notrunc status=none
check 1 "$scratch/foreign"
says 'program for another architecture'
says '^preload takes hold: no; '
compile musl -Wl,--dynamic-linker=/lib/ld-musl-test.so.1
check 1 "$scratch/musl"
says 'another C library .*ld-musl-test'

printf '#!%s --option\n' "$scratch/user" >"$scratch/script"
chmod +x "$scratch/script"
check 0 "$scratch/script"
says '^.*/script: script for .*/user$'
says '^.*/user: dynamically linked'
printf '#!/usr/bin/env -S A=1 user\n' >"$scratch/env-script"
PATH=$scratch:$PATH check 0 "$scratch/env-script"
printf '#!%s\n' "$scratch/loop" >"$scratch/loop"
check 1 "$scratch/loop"

echo text >"$scratch/text"
check 1 "$scratch/text"
says 'no program'
# Broken files are named as such, or as something else; none is an accident.
for size in 10 50 64 100 1000 3000 9000; do
	head -c $size "$scratch/user" >"$scratch/broken"
	"$SIGEVEC_TOOL" check "$scratch/broken" >"$scratch/out" 2>&1
	[ $? = 1 ] || fail "a file cut off at $size bytes: $(cat "$scratch/out")"
done
check 2 "$scratch/nothing"
complains 'No such file'
check 2 "$scratch"
complains 'Is a directory'
check 2
check 2 "$scratch/user" "$scratch/none"
finish
