#!/bin/sh
# SPDX-License-Identifier: MIT
# XRootD's server with asynchronous I/O: what its clients ask for it reads and writes with aio_read64 and aio_write64, and SIGEV_SIGNAL.
# Files go up and down by several clients at once, and are compared. Without `async Debug force nosf' the server makes plain calls.

. "$(dirname -- "$0")/lib.sh"

need xrootd xrdcp cmp
own_network "$@"
make_work
server=
user=
stop() {
	[ -z "$server" ] || { kill -9 "$server"; wait "$server"; } 2>/dev/null
	server=
}
trap 'stop; cleanup' EXIT
chmod 755 "$work"
mkdir "$work/store" "$work/store/data" "$work/admin" "$work/logs" "$work/home"
HOME=$work/home
export HOME
if [ "$(id -u)" = 0 ]; then # it does not run as root
	user="-R nobody"
	chown -R nobody "$work" # the statistics are written there, too
	setpriv --reuid nobody --clear-groups test -x "$work/store" 2>/dev/null || skip "the user nobody cannot enter the work folder; set TMPDIR"
fi
cat >"$work/config" <<END
xrd.port 11094
xrd.network nodnr
all.export /data
oss.localroot $work/store
all.adminpath $work/admin
all.pidpath $work/admin
xrootd.async Debug force nosf
END

start() {
	rm -f "$work"/bind.* "$work"/stats*
	# shellcheck disable=SC2086
	"$work/under" xrootd -c "$work/config" $user -l "$work/logs/server" -n t >"$work/log" 2>&1 </dev/null &
	server=$!
	for _ in $(seq 300); do
		! kill -0 "$server" 2>/dev/null || ! grep -q 'initialization completed' "$work"/logs/t/server 2>/dev/null || return 0
		kill -0 "$server" 2>/dev/null || break
		sleep 0.1
	done
	cat "$work"/logs/t/server >>"$work/log" 2>/dev/null
	fail "the server does not begin"
}

head -c 20000001 /dev/urandom >"$work/one"
head -c 3000000 /dev/urandom >"$work/two"
for name in $SIGEVEC_ENGINES; do
	with_engine "$name"
	rm -rf "$work/logs/t"
	start
	for file in one two; do
		timeout -k 5 60 xrdcp --nopbar --force "$work/$file" "root://127.0.0.1:11094//data/$file" >"$work/$file.log" 2>&1 &
		eval "$file=\$!"
	done
	for copy in "$one" "$two"; do wait "$copy" || { cat "$work"/one.log "$work"/two.log >"$work/log"; fail "a copy to the server fails"; }; done
	for file in one two; do
		what="$file"
		cmp "$work/$file" "$work/store/data/$file" || fail "what the server has is not what was sent"
		rm -f "$work/back"
		timeout -k 5 60 env XRD_CPCHUNKSIZE=262144 xrdcp --nopbar --force "root://127.0.0.1:11094//data/$file" "$work/back" >"$work/log" 2>&1 ||
			fail "a copy from the server fails"
		cmp "$work/$file" "$work/back" || fail "what the server sends is not what it has"
	done
	stop
	proved 100 aio_read64 aio_write64 aio_return64
done
finish
