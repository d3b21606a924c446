#!/bin/bash
# SPDX-License-Identifier: MIT
# The packages' lists (debian/, libsigevec.spec) and what is installed agree: each file is in one package, no list names what
# is not there, and every name of the libraries is in the symbols files. Building the packages is `dpkg-buildpackage -us -uc -b`.
. "$(dirname "$0")/common.sh"
debian=$top_srcdir/debian
[ -d "$debian" ] || skip "the release has no debian/"
[ -e "$top_builddir/libsigevec_event.la" ] || skip "built without libevent: libsigevec_event is in the lists"
[ -e "$top_builddir/libsigevec_fabric.la" ] || skip "built without libfabric: libsigevec_fabric is in the lists"
install_copy

# Names as in the lists: below the prefix as usr/, libraries in a folder of the architecture's.
prefix=$(sed -n "s|^prefix=||p" "$(find "$installed_root" -name sigevec.pc)")
(cd "$installed_root$prefix" && find . ! -type d ! -name '*.la' ! -name '*.a') |
	sed 's|^\./|usr/|; s|^usr/lib/|usr/lib/arch/|; s|^usr/lib64/|usr/lib/arch/|' | sort >"$scratch/list"
[ -s "$scratch/list" ] || fail "nothing is installed"

# What a pattern of a list matches: the file, or the folder it is in.
matches() {
	local file=$1 pattern=$2
	# shellcheck disable=SC2053
	[[ $file == $pattern || $file == $pattern/* ]]
}

# check WHAT PATTERN...: each installed file once
check() {
	local what=$1 file pattern count
	shift
	while read -r file; do
		count=0
		for pattern; do matches "$file" "$pattern" && count=$((count + 1)); done
		[ $count = 1 ] || fail "$what: $file is in $count packages"
	done <"$scratch/list"
	for pattern; do
		while read -r file; do matches "$file" "$pattern" && continue 2; done <"$scratch/list"
		fail "$what: $pattern is nothing that is installed"
	done
}

patterns=$(cat "$debian"/*.install)
set -f
# shellcheck disable=SC2086
check debian $patterns
# shellcheck disable=SC2046
check libsigevec.spec $(sed -n '/^%files/,/^%changelog/p' "$top_srcdir/libsigevec.spec" | sed -n 's|^%{_|%{_|p' | grep -v _usrsrc |
	sed 's|%{_libdir}|usr/lib/arch|; s|%{_includedir}|usr/include|; s|%{_mandir}|usr/share/man|; s|%{_bindir}|usr/bin|; s|%{_datadir}|usr/share|')
set +f
for file in "$debian"/*.install; do
	grep -q "^Package: $(basename "$file" .install)$" "$debian/control" || fail "$(basename "$file") is of no package"
done

version=$(sed -n 's/^AC_INIT(\[libsigevec\], \[\(.*\)\])/\1/p' "$top_srcdir/configure.ac")
grep -q "^libsigevec ($version-" "$debian/changelog" || fail "debian/changelog is of another version than $version"
grep -q "^Version: *$version\$" "$top_srcdir/libsigevec.spec" || fail "libsigevec.spec is of another version than $version"

# names MAP SYMBOLS
names() {
	local name
	while read -r name; do
		fail "$name is not in debian/$2"
	done < <(comm -23 <(sed -n 's/^\t\([a-z_0-9]*\);$/\1/p' "$top_srcdir/$1" | sort -u) \
		<(sed -nE 's/^ (\(.*\))?([a-z_0-9]*)@.*/\2/p' "$debian/$2" | sort -u))
}
names lib/libsigevec.map libsigevec1.symbols
names lib/glue/libsigevec_event.map libsigevec-event1.symbols
names lib/fabric/libsigevec_fabric.map libsigevec-fabric1.symbols
names lib/libaio/libsigevec_aio.map libsigevec-aio1.symbols
for name in $posix_names $source_names $timer_names; do
	grep -qE "^ (\(.*\))?$name@" "$debian/libsigevec1.symbols" || fail "$name is not in debian/libsigevec1.symbols"
done

# Whose the module's device is: the packages that ship the rule make the group.
"$MAKE" -C "$top_builddir" install-kmod-source DESTDIR="$scratch/kmod" >"$scratch/install.log" 2>&1 || fail "make install-kmod-source"
group=$(sed -n 's/^KERNEL=.*GROUP="\([^"]*\)".*/\1/p' "$scratch/kmod/lib/udev/rules.d/60-sigevec.rules")
grep -qx "g $group - -" "$scratch/kmod/usr/lib/sysusers.d/sigevec.conf" || fail "sysusers.d does not make the group '$group' of the udev rule"
grep -qx ' dh-sequence-installsysusers,' "$debian/control" || fail "sigevec-dkms of Debian does not make the group"
grep -qE "^getent group $group .*groupadd -r $group" "$top_srcdir/libsigevec.spec" || fail "sigevec-dkms of libsigevec.spec does not make the group"
(cd "$scratch/kmod" && find lib usr/lib -type f) | while read -r file; do
	grep -qx "/$file" "$top_srcdir/libsigevec.spec" || echo "$file"
done >"$scratch/left"
[ ! -s "$scratch/left" ] || fail "libsigevec.spec does not have $(cat "$scratch/left")"

for script in "$debian"/tests/* "$debian/rules"; do
	[ "${script##*/}" = control ] || [ -x "$script" ] || fail "${script#"$top_srcdir/"} cannot be run"
done
if command -v rpmspec >/dev/null; then
	rpmspec -P "$top_srcdir/libsigevec.spec" >/dev/null || fail "libsigevec.spec cannot be read"
fi
finish
