#!/bin/bash
# SPDX-License-Identifier: MIT
# Whatever a file, a process or a command line is called: what sigevec(1) prints of it moves no cursor, ends no line, and is text.
. "$(dirname "$0")/common.sh"

# One function writes, and it looks at every text.
writers='\b(v?f?printf|puts|fputs|fputc|putc|putchar|fwrite|perror|psignal|err|warn|cout|cerr)[[:space:]]*\('
grep -nE "$writers" "$top_srcdir"/tools/*.cpp "$top_srcdir"/tools/*.hpp | grep -v '/tools/text\.[ch]pp:' >"$scratch/writers"
[ ! -s "$scratch/writers" ] || fail "text is printed past tool::print: $(cat "$scratch/writers")"

# An escape; the same as one character of Unicode, and as the byte that 8-bit terminals know; an end of a line; a turn of the direction; a byte
# of no character; and a letter, whose second byte is a control character where the locale is not UTF-8.
hostile=$'\033[31m\302\233m\233m\nforged\342\200\256\377\007\b\177\305\233'
compile user

# is_text WHAT: of the last command's output, in a locale without and with Unicode
is_text() {
	local file
	for file in "$scratch/out" "$scratch/err"; do
		if LC_ALL=C grep -qP '[^\x09\x0a\x20-\x7e\x80-\xff]' "$file"; then
			fail "$1: control characters in $(cat -v "$file")"
		fi
		if [ "$LC_ALL" = C ]; then
			! LC_ALL=C grep -qP '[\x80-\xff]' "$file" || fail "$1: bytes that are not ASCII in $(cat -v "$file")"
		else
			iconv -f UTF-8 -t UTF-8 "$file" >/dev/null 2>&1 || fail "$1: no UTF-8: $(cat -v "$file")"
			! LC_ALL=C grep -qP '\xc2[\x80-\x9f]|\xe2\x80[\x8e\x8f\xa8-\xae]' "$file" || fail "$1: a control character of Unicode"
		fi
		! grep -q '^forged' "$file" || fail "$1: a line of its own"
	done
}

# printed WHAT STATUS COMMAND...
printed() {
	local what=$1
	shift
	ends "$@"
	is_text "$what"
}

name=$scratch/a$hostile
for LC_ALL in C C.UTF-8; do
	export LC_ALL
	printed "a name that is not there" 2 "$SIGEVEC_TOOL" check "$name"
	complains 'a\\x1b\[31m'
	cp "$scratch/user" "$name"
	printed "a program's name" 0 "$SIGEVEC_TOOL" check "$name"
	printed "a program's name in JSON" 0 "$SIGEVEC_TOOL" check --json "$name"
	is_json
	json 'd["files"][0]["path"].startswith(sys.argv[1].rsplit("/", 1)[0] + "/a\x1b[31m") and "\u202e" in d["files"][0]["path"]'
	rm "$name"
	printed "a command's name" 127 "$SIGEVEC_TOOL" run "$name"
	printed "a subcommand" 2 "$SIGEVEC_TOOL" "$hostile"
	for command in run info check stat top trace bench; do
		printed "an option of $command" 2 "$SIGEVEC_TOOL" $command "--$hostile" x
	done
	printed "an engine" 2 "$SIGEVEC_TOOL" run --engine "$hostile" true
	printed "a number" 2 "$SIGEVEC_TOOL" bench --seconds "$hostile"
	printed "a statistics file's name" 1 "$SIGEVEC_TOOL" stat "$name"

	printf '#!/tmp/%s\n' "${hostile/$'\n'/}" >"$scratch/script"
	chmod +x "$scratch/script"
	printed "a script's interpreter" 2 "$SIGEVEC_TOOL" check "$scratch/script"
	compile interpreter "-Wl,--dynamic-linker=/lib/$hostile"
	printed "a program's interpreter" 1 "$SIGEVEC_TOOL" check "$scratch/interpreter"
	says 'another C library'
	compile liba.so -DLIBRARY -shared -fPIC "-Wl,-soname,lib$hostile.so"
	compile needing -DNO_AIO -Wl,--no-as-needed "$scratch/liba.so"
	printed "a library's name" 1 "$SIGEVEC_TOOL" check "$scratch/needing"
	says 'its library lib.*was not found'
	printed "a library's name in JSON" 1 "$SIGEVEC_TOOL" check --json "$scratch/needing"
	is_json
	printed "a chart" 1 "$SIGEVEC_TOOL" bench --svg "$scratch/$hostile/chart" -s 0.01 -r 1 -q -S 64k "$scratch/user"
done

# What is text stays as it is.
LC_ALL=C.UTF-8
printed "text" 2 "$SIGEVEC_TOOL" check "$scratch/ä€𝄞"
complains 'ä€𝄞'

# The name of a program, as its statistics file has it.
if [ -z "$SIGEVEC_SANITIZER" ]; then
	head -c 65536 /dev/zero >"$scratch/data"
	name=$scratch/$'p\033[31m\377'
	cp "$scratch/user" "$name"
	LD_PRELOAD=$SIGEVEC_LIB SIGEVEC_STATS=$scratch/stats "$name" "$scratch/data"
	printed "a program's name in its statistics" 0 "$SIGEVEC_TOOL" stat "$scratch/stats"
	says '^pid [0-9]+ \(p\\x1b\[31m\\xff\)'
	printed "a program's name in its statistics as JSON" 0 "$SIGEVEC_TOOL" stat --json "$scratch/stats"
	is_json
	ends 0 "$SIGEVEC_TOOL" run --stats "$name" "$scratch/data"
	is_text "a program's name in run --stats"
	# And of a counter, whatever is in its place: the names begin after the header's words.
	printf '\033]0;x\007\n' | dd of="$scratch/stats" bs=1 seek=112 conv=notrunc status=none
	printed "a counter's name" 0 "$SIGEVEC_TOOL" stat "$scratch/stats"
	says '^\\x1b\]0;x'
fi
finish
