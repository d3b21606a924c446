#!/bin/bash
# SPDX-License-Identifier: MIT
# Installed in /usr, beside the system's own headers, the library's <aio.h> is found by who asks for it, finds the system's, and is in nobody
# else's way: with a root of its own that has both.
. "$(dirname "$0")/common.sh"
install_copy
root=$scratch/root
mkdir -p "$root/usr/include"
ln -s /usr/lib "$root/usr/lib"
ln -s /usr/lib /lib64 /lib "$root/" 2>/dev/null
for entry in /usr/include/*; do
	case ${entry##*/} in
	sigevec*) ;; # what may be installed on this machine
	*) ln -s "$entry" "$root/usr/include/" ;;
	esac
done
prefix=$(sed -n "s|^prefix=||p" "$(find "$installed_root" -name sigevec.pc)")
cp -r "$installed_root$prefix"/include/* "$root/usr/include/"

# The real folder of the headers: through a link gcc finds what is beside its target.
rm "$root/usr/include/aio.h"
cp /usr/include/aio.h "$root/usr/include/"
for how in "$CC -std=c11 -x c" "$CXX -std=c++17 -x c++"; do
	echo '#include <aio.h>' | $how --sysroot="$root" -E - 2>/dev/null | grep -q "\"$root/usr/include/aio.h\"" ||
		skip "${how%% *} does not look for headers in another root"
done

cat >"$scratch/plain.c" <<'END'
#include <aio.h>
struct aiocb cb;
#ifdef SIGEVEC_SYSTEM_AIO_H
#error "a program that knows nothing of the library got its header"
#endif
END
for first in aio sigevec; do
	second=$([ $first = aio ] && echo sigevec || echo aio)
	cat >"$scratch/$first.c" <<END
#include <$first.h>
#include <$second.h>
int main(void)
{
	struct aiocb cb;
	cb.aio_msg = 0;
	cb.aio_dma_buf = 0;
	return sizeof cb.aio_msg == 0;
}
END
done

# compile LANGUAGE-AND-COMPILER FILE FLAG...
compile() {
	local how=$1 file=$2
	shift 2
	$how --sysroot="$root" -Wall -Wextra -pedantic -Werror -fsyntax-only "$@" "$scratch/$file.c" 2>"$scratch/errors" || {
		head -n 5 "$scratch/errors"
		fail "$how $* $file.c"
	}
}

for how in "$CC -std=c11 -x c" "$CXX -std=c++17 -x c++"; do
	compile "$how" plain
	compile "$how" sigevec # the library's header first needs no flags at all
	for file in aio sigevec; do
		# pkg-config leaves -I/usr/include out; others may not, or take the folders for the system's own.
		compile "$how" $file "-I$root/usr/include/sigevec/system"
		compile "$how" $file "-isystem$root/usr/include/sigevec/system"
		compile "$how" $file "-I$root/usr/include/sigevec/system" "-I$root/usr/include"
		compile "$how" $file "-isystem$root/usr/include/sigevec/system" "-isystem$root/usr/include"
		compile "$how" $file "-idirafter$root/usr/include" "-I$root/usr/include/sigevec/system"
	done
done
finish
