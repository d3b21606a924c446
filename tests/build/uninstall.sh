#!/bin/bash
# SPDX-License-Identifier: MIT
# What `make install' has brought, `make uninstall' takes away: every file, and the folders that are the library's alone.
. "$(dirname "$0")/common.sh"

install_copy
[ -n "$(find "$installed_root" -name sigevec -type d)" ] || fail "nothing was installed into folders of its own"
flock "$top_builddir/config.status" "$MAKE" -C "$top_builddir" uninstall DESTDIR="$installed_root" >"$scratch/uninstall.log" 2>&1 || {
	tail -n 20 "$scratch/uninstall.log"
	fail "make uninstall"
}
left=$(cd "$installed_root" && find . ! -type d -o -name 'sigevec*' -o -name system)
[ -z "$left" ] || fail "left behind: $left"
finish
