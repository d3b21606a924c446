# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# For tests that build the library another way: by another compiler, for other objects. Each takes about a minute.
. "${BASH_SOURCE[0]%/*}/common.sh"

[ ! -e "$top_srcdir/config.status" ] || skip "the sources have a build of their own in their folder"

# The quickest that has the warnings: they are errors in all of these.
plain="--disable-lto --disable-tests --enable-werror CFLAGS=-O0 CXXFLAGS=-O0"

# with_what_is_here: the options for the libraries that the build in $top_builddir has
with_what_is_here() {
	local name
	for name in LIBURING LIBAIO LIBEVENT; do
		grep -q "^#define HAVE_$name 1" "$top_builddir/config.h" || echo "--without-${name,,}"
	done
}

# other_build OPTION-OF-CONFIGURE...: sets built, where it is; $targets of make, or all
other_build() {
	built=$scratch/build
	mkdir -p "$built"
	unset MAKEFLAGS MFLAGS MAKELEVEL
	# shellcheck disable=SC2046,SC2086 # several words each
	(cd "$built" && "$top_srcdir/configure" $plain $(with_what_is_here) "$@" && "$MAKE" -j"$(nproc)" ${targets-}) >"$scratch/log" 2>&1 || {
		grep -E -A 6 '(error|warning|Error)[: ]' "$scratch/log" | head -n 60
		tail -n 5 "$scratch/log"
		fail "it does not build with $*"
		finish
	}
}
