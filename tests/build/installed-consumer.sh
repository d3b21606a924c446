#!/bin/bash
# SPDX-License-Identifier: MIT
# Programs outside of the tree, built against an installed copy and run: with cc and c++ by pkg-config, with Autotools, with CMake.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "a program without it cannot load the library"
install_copy
export LD_LIBRARY_PATH=$installed_libdir
here=$top_srcdir/tests/build
printf 'sigevec' >"$scratch/file"
strict="-Wall -Wextra -pedantic -Werror"
modules=sigevec
[ ! -e "$installed_libdir/pkgconfig/sigevec_event.pc" ] || modules="sigevec sigevec_event"
[ ! -e "$installed_libdir/pkgconfig/sigevec_fabric.pc" ] || modules="$modules sigevec_fabric"

# The scratch copy is looked at before the system, which has libevent.
PKG_CONFIG_LIBDIR=$PKG_CONFIG_LIBDIR:$(env -u PKG_CONFIG_LIBDIR -u PKG_CONFIG_PATH pkg-config --variable pc_path pkg-config)
# Only what lies in the copy gets its root in front; libevent has no flags of its own.
unset PKG_CONFIG_SYSROOT_DIR
sed -i "s|^prefix=|prefix=$installed_root|; s|=/usr|=$installed_root/usr|" "$installed_libdir"/pkgconfig/*.pc

# expect MODULE PROGRAM: it runs, and does what it is for
expect() {
	case $1 in
	sigevec)
		"$2" "$scratch/file" >"$scratch/output" || fail "$2: exit $?"
		grep -q 'begins with sige$' "$scratch/output" || fail "$2: read the wrong thing"
		;;
	sigevec_event)
		"$2" >"$scratch/output" || fail "$2: exit $?"
		grep -qx 'both were heard' "$scratch/output" || fail "$2: $(cat "$scratch/output")"
		;;
	sigevec_fabric)
		"$2" >"$scratch/output" || fail "$2: exit $?"
		grep -qE '^(by [a-z]|no provider)' "$scratch/output" || fail "$2: $(cat "$scratch/output")"
		;;
	esac
}

source_of() {
	case $1 in
	sigevec) echo "$here/consumer.c" ;;
	*) echo "$here/consumer_${1#sigevec_}.c" ;;
	esac
}

# --- cc and c++ -------------------------------------------------------------------------------------------------------------
for module in $modules; do
	for how in "$CC -std=c11 -x c" "$CXX -std=c++17 -x c++"; do
		# shellcheck disable=SC2046,SC2086
		$how $strict -o "$scratch/consumer" "$(source_of $module)" -x none $(pkg-config --cflags --libs $module) || {
			fail "$how: the consumer of $module does not build"
			continue
		}
		readelf -d "$scratch/consumer" | grep -q "NEEDED.*lib$module\.so\.1" || fail "the program does not need lib$module.so.1"
		expect $module "$scratch/consumer"
	done
done

if [ -f "$installed_libdir/libsigevec.a" ]; then
	# shellcheck disable=SC2046
	"$CC" -std=c11 -o "$scratch/consumer-static" "$here/consumer.c" $(pkg-config --cflags sigevec) \
		"$installed_libdir/libsigevec.a" $(pkg-config --static --libs-only-l sigevec | sed 's/-lsigevec//') ||
		fail "consumer.c does not build with the static library"
	expect sigevec "$scratch/consumer-static"
fi

# --- Autotools --------------------------------------------------------------------------------------------------------------
missing=
autotools() {
	local module
	mkdir "$scratch/autotools" && cd "$scratch/autotools" || exit 99
	{
		printf 'AC_INIT([consumer], [1])\nAM_INIT_AUTOMAKE([foreign -Wall])\nAC_PROG_CC\n'
		for module in $modules; do echo "PKG_CHECK_MODULES([${module^^}], [$module])"; done
		printf 'AC_CONFIG_FILES([Makefile])\nAC_OUTPUT\n'
	} >configure.ac
	echo "bin_PROGRAMS = $modules" >Makefile.am
	for module in $modules; do
		cp "$(source_of "$module")" "$module.c"
		printf '%s_CFLAGS = $(%s_CFLAGS)\n%s_LDADD = $(%s_LIBS)\n' "$module" "${module^^}" "$module" "${module^^}" >>Makefile.am
	done
	{ autoreconf -i && ./configure CC="$CC" CFLAGS="-std=c11 $strict" && "$MAKE"; } >log 2>&1 || {
		tail -n 15 log
		fail "the Autotools project does not build"
		return
	}
	for module in $modules; do expect "$module" "./$module"; done
}
if command -v autoreconf >/dev/null && command -v automake >/dev/null; then autotools; else missing="$missing Autotools"; fi

# --- CMake: find_package, and pkg_check_modules -------------------------------------------------------------------------------
cmake_project() {
	local module
	mkdir "$scratch/cmake" && cd "$scratch/cmake" || exit 99
	{
		echo 'cmake_minimum_required(VERSION 3.16)'
		echo 'project(consumer C)'
		echo 'find_package(sigevec 0.1 REQUIRED)'
		echo 'find_package(PkgConfig REQUIRED)'
		for module in $modules; do
			cp "$(source_of "$module")" "$module.c"
			cat <<-END
				add_executable($module-config $module.c)
				target_link_libraries($module-config sigevec::${module#sigevec_})
				pkg_check_modules(${module^^} REQUIRED IMPORTED_TARGET $module)
				add_executable($module-pc $module.c)
				target_link_libraries($module-pc PkgConfig::${module^^})
			END
		done
	} >CMakeLists.txt
	{ cmake -DCMAKE_PREFIX_PATH="${installed_libdir%/lib*}" -DCMAKE_C_STANDARD=11 -DCMAKE_C_FLAGS="$strict" \
		-DCMAKE_C_COMPILER="${CC%% *}" . && "$MAKE"; } >log 2>&1 || {
		tail -n 15 log
		fail "the CMake project does not build"
		return
	}
	for module in $modules; do
		expect "$module" "./$module-config"
		expect "$module" "./$module-pc"
	done
}
if command -v cmake >/dev/null; then cmake_project; else missing="$missing CMake"; fi

[ -z "$missing" ] || [ "$failures" != 0 ] || skip "not there, and not tried:$missing; all else is well"
finish
