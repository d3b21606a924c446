#!/bin/sh
# SPDX-License-Identifier: MIT
# MariaDB's InnoDB on libaio (innodb_linux_aio=aio: the default takes io_uring where it can). It reaps by system calls on the context. A table larger
# than the buffer pool is filled, the server is killed in the middle, recovers, and must have every transaction that was acknowledged, and no part of any.

. "$(dirname -- "$0")/libaio.sh"

need mariadbd mariadb
make_work
mariadbd --no-defaults --verbose --help 2>/dev/null | grep -q innodb-linux-aio || skip "this MariaDB cannot be told to use libaio rather than io_uring"
server=
stop() {
	[ -z "$server" ] || { kill -9 "$server"; wait "$server"; } 2>/dev/null
	server=
}
trap 'stop; cleanup' EXIT
# A socket's name is short.
sockets=$(mktemp -d /tmp/sigevec-mariadb.XXXXXX) || fail "mktemp failed"
trap 'stop; rm -rf "$sockets"; cleanup' EXIT

sql() { timeout -k 5 60 mariadb --no-defaults --socket "$sockets/s" --batch --skip-column-names "$@"; }

# Without a database of its own about users and the like: nothing of that is the engine's.
start() {
	rm -f "$work"/bind.* "$work"/stats*
	"$work/under" mariadbd --no-defaults --user="$(id -un)" --datadir="$work/data" --socket="$sockets/s" --pid-file="$sockets/pid" --skip-networking \
		--skip-grant-tables --skip-log-bin --innodb-use-native-aio=ON --innodb-linux-aio=aio --innodb-flush-method=O_DIRECT \
		--innodb-buffer-pool-size=6M --innodb-log-file-size=4M --innodb-io-capacity=2000 --innodb-max-dirty-pages-pct=5 \
		--innodb-max-dirty-pages-pct-lwm=1 --innodb-undo-tablespaces=0 --aria-log-file-size=8M >"$work/log" 2>&1 </dev/null &
	server=$!
	for _ in $(seq 600); do
		! sql -e 'select 1' >/dev/null 2>&1 || return 0
		kill -0 "$server" 2>/dev/null || fail "the server has ended"
		sleep 0.1
	done
	fail "the server does not begin"
}

rows=400
fill() {
	i=0
	while [ "$i" -lt 2000 ]; do
		i=$((i + 1))
		echo "insert into d.t select $i * $rows + seq, $i, repeat(sha1($i * $rows + seq), 5) from seq_1_to_$rows; select $i;"
	done
}
fill >"$work/fill.sql"

crash() {
	rm -rf "$work/data"
	mkdir "$work/data"
	start
	sql -e 'create database d; create table d.t (id int primary key, part int, text varchar(200), key (text)) engine=innodb' >>"$work/log" 2>&1 || fail "no table"
	sql --unbuffered d <"$work/fill.sql" >"$work/acknowledged" 2>>"$work/client" &
	client=$!
	for _ in $(seq 600); do
		[ "$(wc -l <"$work/acknowledged")" -lt 60 ] || break
		kill -0 "$client" 2>/dev/null || break
		sleep 0.1
	done
	stop
	wait "$client"
	acknowledged=$(tail -n 1 "$work/acknowledged")
	[ "${acknowledged:-0}" -ge 60 ] || fail "only ${acknowledged:-0} transactions: $(tail -n 1 "$work/client")"
	proved_aio 50 io_setup io_submit
}

recover() {
	start
	sql -e 'check table d.t extended' >"$work/answer" || fail "no check"
	grep -q 'OK$' "$work/answer" || fail "the table is damaged: $(cat "$work/answer")"
	sql -e "select count(*), count(distinct part), max(part), sum(text <> repeat(sha1(id), 5)), sum(id < part * $rows or id > (part + 1) * $rows) from d.t" >"$work/answer"
	read -r count parts last wrong strange <"$work/answer"
	[ "$parts" -ge "$acknowledged" ] && [ "$parts" -le $((acknowledged + 1)) ] && [ "$last" = "$parts" ] || fail "$acknowledged transactions were acknowledged, and $parts are there"
	[ "$count" = $((parts * rows)) ] && [ "$wrong" = 0 ] && [ "$strange" = 0 ] || fail "not what was written: $(cat "$work/answer")"
	stop
	proved_aio 10 io_setup io_submit
}

for name in $(some_engines default threads); do
	with_engine "$name"
	what="filling"
	crash
	what="after the crash"
	recover
done
finish
