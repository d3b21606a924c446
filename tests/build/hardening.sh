#!/bin/bash
# SPDX-License-Identifier: MIT
# What is installed has the marks of a hardened build: nothing that is written to can be run, tables of addresses are read-only from the start,
# stacks and sizes are checked, the tool has an address of chance. The marks are read in the files.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "it has checks of its own"
command -v readelf >/dev/null || skip "there is no readelf (Debian package: binutils)"
flags=$(sed -n "s/^S\[\"HARDENING_FLAGS\"\]=\"\(.*\)\"/\1/p" "$top_builddir/config.status")
[ -n "$flags" ] || skip "built with --disable-hardening"
install_copy

# has WHAT FILE PATTERN READELF-OPTION...: of the ELF file
has() {
	local what=$1 file=$2 pattern=$3
	shift 3
	readelf -W "$@" "$file" 2>/dev/null | grep -qE -- "$pattern" || fail "${file##*/} has no $what"
}

files=()
while IFS= read -r file; do
	[ "$(head -c 4 "$file" | tr -d '\0')" = $'\177ELF' ] && files+=("$file")
done < <(find "$installed_root" -type f ! -name '*.o' ! -name '*.a' ! -path '*/usr/src/*')
[ ${#files[@]} -ge 2 ] || fail "only ${#files[@]} ELF files are installed"
for file in "${files[@]}"; do
	has "read-only relocations" "$file" 'GNU_RELRO' -l
	has "binding at the start" "$file" '\(FLAGS_1\).*NOW|\(BIND_NOW\)|\(FLAGS\).*BIND_NOW' -d
	has "stack without execution" "$file" 'GNU_STACK .* RW +0x' -l
	! readelf -W -d "$file" | grep -q TEXTREL || fail "${file##*/} has relocations in its code"
	! readelf -W -l "$file" | grep -qE 'LOAD .* RWE ' || fail "${file##*/} has memory that can be written to and run"
	has "position independent code" "$file" 'Type: +DYN' -h
	case $flags in
	*-fstack-protector-strong*) has "stack protector" "$file" ' __stack_chk_(fail|guard)' --dyn-syms ;;
	esac
	case $flags in
	*-fcf-protection*) has "mark for shadow stacks" "$file" 'x86 feature: .*SHSTK' -n ;;
	*-mbranch-protection*) has "mark for branches" "$file" 'AArch64 feature: .*(BTI|PAC)' -n ;;
	esac
	# The other libraries copy nothing of which the compiler could not tell that it fits.
	case $flags:${file##*/} in
	*_FORTIFY_SOURCE*:libsigevec_event* | *_FORTIFY_SOURCE*:libsigevec_aio* | *_FORTIFY_SOURCE*:libsigevec_fabric*) ;;
	*_FORTIFY_SOURCE*) has "checks of sizes" "$file" ' UND __[a-z_]+_chk(@|$| )' --dyn-syms ;;
	esac
done

# Where a jump by a pointer may end is marked, too, though the mark of the whole file depends on libc's start-up files.
case $flags in
*-fcf-protection*)
	for name in libsigevec:aio_read libsigevec:ec_create libsigevec_aio:io_submit libsigevec_aio:syscall; do
		objdump -d --no-show-raw-insn "--disassemble=${name#*:}" "$installed_libdir/${name%:*}.so.1" | grep -qE '^ +[0-9a-f]+:.*endbr(64|32)' ||
			fail "$name does not begin with endbr"
	done
	;;
esac
finish
