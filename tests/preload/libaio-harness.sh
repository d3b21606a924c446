#!/bin/sh
# SPDX-License-Identifier: MIT
# libaio's own test harness, from Debian's source package: what passes bare passes with the library.
#
# The source comes with `apt-get source`, by a list of its own if the machine has none of sources, and stays in the build folder;
# SIGEVEC_LIBAIO_SOURCE names an unpacked one. Four cases are made smaller:
# 6 and 14 move 768 MiB, 11 makes two million requests, 18 a hundred thousand contexts.

. "$(dirname -- "$0")/libaio.sh"

need make "${CC:-cc}"
source=${SIGEVEC_LIBAIO_SOURCE:-$(CDPATH='' cd -- "$build_dir" && pwd)/libaio-source}
make_work

# One list of sources, and folders of its own for what apt keeps.
fetch_source() {
	need apt-get
	keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	[ -e "$keyring" ] && [ -n "$release" ] || skip "this is not Debian: set SIGEVEC_LIBAIO_SOURCE to libaio's source"
	mkdir -p apt/parts apt/lists/partial apt/cache/archives/partial
	echo "deb-src [signed-by=$keyring] http://deb.debian.org/debian $release main" >apt/sources.list
	set -- -o APT::Sandbox::User= -o Acquire::Retries=0 -o Acquire::http::Timeout=5 \
		-o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts="$work/apt/parts" \
		-o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache"
	timeout -k 5 40 apt-get "$@" update >log 2>&1 &&
		timeout -k 5 20 apt-get "$@" source libaio >>log 2>&1 || skip "libaio's source cannot be had: $(tail -n 1 log)"
	rm -rf "$source"
	mv libaio-[0-9]*/ "$source" || skip "libaio's source has another name"
}
[ -d "$source/harness" ] || fetch_source
[ -d "$source/harness" ] || skip "no harness in $source"

cp -r "$source/harness" "$source/src" . || fail "cannot copy $source"
cd harness || fail "no harness"
chmod -R u+w .
sed -i 's/1000000/5000/' cases/11.t
sed -i 's/768 \* 1024/16 * 1024/; s/768\*1024/16*1024/' cases/6.t cases/14.t
sed -i 's/THREADS_NUM 100/THREADS_NUM 20/; s/i < 1000;/i < 100;/' cases/18.t
what="building"
run 120 make -s LIBAIO=-laio CFLAGS="-O1 -w" $(cd cases && ls *.t | grep -vE '^(8|10|23)\.t$' | sed 's#\(.*\)\.t#cases/\1.p#') \
	testdir/rofile testdir/rwfile testdir/wofile

# 8 and 10 are for root and file systems of their own; Debian leaves 23 out.
cases=$(cd cases && ls *.p | sort -n)
bare=
for i in $cases; do
	timeout -k 5 60 "cases/$i" >"$work/log" 2>&1 </dev/null && bare="$bare $i"
done
[ -n "$bare" ] || skip "no case passes without the library: $(tail -n 1 "$work/log")"

for name in $(some_engines default threads); do
	with_engine "$name"
	for i in $bare; do
		what="case $i"
		run 60 "$work/under" "cases/$i"
		passed=$((passed + 1))
	done
	what="case 11"
	run 60 "$work/under" cases/11.p
	proved_aio 10000 io_submit io_getevents io_queue_init
done
finish
