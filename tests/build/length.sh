#!/bin/bash
# SPDX-License-Identifier: MIT
# No file of the library, its headers or its tool is so long that it is about more than one thing: 400 lines at most.
. "$(dirname "$0")/common.sh"
cd "$top_srcdir" || exit 99

while read -r lines file; do
	[ "$lines" -le 400 ] || [ "$file" = total ] || fail "$file has $lines lines"
done < <(find include lib tools compat \( -name '*.[ch]pp' -o -name '*.[ch]' \) -exec wc -l {} +)
finish
