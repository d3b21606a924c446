#!/bin/bash
# SPDX-License-Identifier: MIT
# Statistics and other users: whatever somebody else has put where they are kept, the program never hears of it, nothing is written or removed
# that is not of its user's, and `sigevec stat' does not take it for what it seems.
. "$(dirname "$0")/common.sh"
skip_with_sanitizer "it cannot be preloaded on its own"
[ -w /dev/shm ] || skip "there is no /dev/shm to write to"
[ "$(id -u)" = 0 ] || skip "it takes root to be two users"
command -v setpriv >/dev/null || skip "there is no setpriv (Debian package: util-linux)"
# Nothing that other programs have there.
if [ -z "${STAT_OWNERS_ALONE-}" ]; then
	unshare -m true 2>/dev/null || skip "there is no mount namespace"
	STAT_OWNERS_ALONE=1 exec unshare -m bash "$0"
fi
mount -t tmpfs -o mode=1777 none /dev/shm || skip "no tmpfs can be mounted"

nobody=65534
as_nobody() {
	setpriv --reuid $nobody --regid $nobody --clear-groups "$@"
}
chmod 755 "$scratch"
library=$scratch/libsigevec.so.1
cp "$SIGEVEC_LIB" "$library"
compile user
head -c 65536 /dev/zero >"$scratch/data"
chmod 644 "$scratch/data"
own=/dev/shm/sigevec-0
theirs=/dev/shm/sigevec-$nobody

# user [WORD...]: the program, with the library; SIGEVEC_STATS is in the environment
user() {
	LD_PRELOAD=$library "$scratch/user" "$@" "$scratch/data"
}
stat() {
	local expected=$1
	shift
	ends "$expected" timeout 60 "$SIGEVEC_TOOL" stat "$@"
}

# A file with figures in it, to be misused.
mkdir -m 700 "$scratch/folder"
SIGEVEC_STATS=$scratch/folder/ user || fail "no statistics in a folder"
mv "$scratch/folder"/* "$scratch/valid" || fail "no statistics in a folder"
chmod 644 "$scratch/valid"

# --- a name that is another user's, or leads elsewhere: the program runs, and the file stays as it is

mkdir -m 1777 "$scratch/public"
named=$scratch/public/named

# refused WHAT: $named is as somebody else has made it
refused() {
	local before after
	before=$(command stat -c '%i %s %y' "$named" 2>&1)
	SIGEVEC_STATS=$named user || fail "$1: the program ends with $?"
	after=$(command stat -c '%i %s %y' "$named" 2>&1)
	[ "$before" = "$after" ] || fail "$1: it was written to"
	rm -rf "$named"
}
as_nobody touch "$named"
refused "an empty file of another user's"
as_nobody cp "$scratch/valid" "$named"
refused "another user's statistics"
as_nobody sh -c "umask 0; cp '$scratch/valid' '$named'; chmod 666 '$named'"
refused "another user's statistics, for everybody"
cp "$scratch/valid" "$named"
chmod 664 "$named"
refused "statistics that a group may write to"
chmod 600 "$scratch/valid"
ln "$scratch/valid" "$named" && refused "a second name of one file"
chmod 644 "$scratch/valid"
as_nobody ln -s "$scratch/valid" "$named"
refused "a symbolic link"
[ "$(command stat -c %a "$scratch/valid")" = 644 ] || fail "the file behind a symbolic link was changed"
as_nobody mkfifo -m 666 "$named"
refused "a FIFO"

# What is cut off meanwhile is not mapped: a program reads on, and lives.
as_nobody sh -c "umask 0; : >'$named'"
coproc program { SIGEVEC_STATS=$named LD_PRELOAD=$library exec "$scratch/user" --hang "$scratch/data"; }
read -r pid <&"${program[0]}"
! grep -qF "$named" "/proc/$pid/maps" || fail "another user's file is mapped"
as_nobody truncate -s 0 "$named"
eval "exec ${program[1]}>&-"
wait "$pid" 2>/dev/null || fail "the program ends with $? after somebody has cut the file"
rm -f "$named"

# --- folders

folder=$scratch/public/folder
mkdir "$folder.target"
as_nobody ln -s "$folder.target" "$folder"
SIGEVEC_STATS=$folder/ user || fail "a link for a folder: $?"
[ -z "$(ls "$folder.target")" ] || fail "a file was made through another user's symbolic link"
rm "$folder"
as_nobody mkdir -m 777 "$folder"
SIGEVEC_STATS=$folder/ user || fail "another user's folder: $?"
[ -z "$(ls "$folder")" ] || fail "a file was made in a folder where everybody may remove it"
rmdir "$folder"
mkdir -m 755 "$folder"
SIGEVEC_STATS=$folder/ user
[ "$(ls "$folder" | wc -l)" = 1 ] || fail "no file in a folder of one's own"

# A file of another kind that has the process's number is not removed.
cat >"$scratch/number.sh" <<'END'
echo precious >"$1/$$"
chmod 600 "$1/$$"
SIGEVEC_STATS=$1/ LD_PRELOAD=$2 exec "$3" "$4"
END
rm -f "$folder"/*
sh "$scratch/number.sh" "$folder" "$library" "$scratch/user" "$scratch/data" || fail "a file with the process's number: $?"
[ "$(cat "$folder"/*)" = precious ] || fail "a file with the process's number was written over"
rm -rf "$folder"

# Whoever has the name of root's folder first has nothing but the name.
rm -rf "$own"
for what in "mkdir -m 777 $own" "ln -s $scratch/public $own" "touch $own" "mkfifo $own"; do
	# shellcheck disable=SC2086 # a command
	as_nobody $what
	SIGEVEC_STATS=1 user --quick-exit || fail "$what: the program ends with $?"
	[ -z "$(find "$own/" "$scratch/public" -name '[0-9]*' 2>/dev/null)" ] || fail "$what: statistics were made there"
	stat 0 --list
	[ "$(wc -l <"$scratch/out")" = 1 ] || fail "$what: --list believes it"
	stat 0 --clear
	ends 0 "$SIGEVEC_TOOL" run --stats "$scratch/user" "$scratch/data"
	complains '^requests 10$'
	rm -rf "$own"
done
mkdir -m 755 "$own"
SIGEVEC_STATS=1 user --quick-exit || fail "a folder that others can read: $?"
[ -z "$(ls "$own")" ] || fail "statistics are made in a folder that others can read"
rmdir "$own"

# --- what is called /proc

# A folder where every number is another file: what has been looked at is read, or nothing.
mkdir -p "$scratch/proc/self/fd"
cp "$scratch/valid" "$scratch/looked-at"
for number in $(seq 0 30); do
	ln -s "$scratch/valid" "$scratch/proc/self/fd/$number"
done
unshare -m sh -c 'mount --bind "$1" /proc && exec "$2" stat "$3"' sh "$scratch/proc" "$(readlink -f "$SIGEVEC_TOOL")" "$scratch/looked-at" >"$scratch/out" 2>&1 &&
	fail "figures of the file that a false /proc names are told"
rm -rf "$scratch/proc" "$scratch/looked-at"

# --- limits, and a program with another's rights

for stats in 1 "$scratch/limited" "$scratch/folder/"; do
	for limit in 0 1 100; do
		(ulimit -c 0 -f $limit; SIGEVEC_STATS=$stats user) || fail "SIGEVEC_STATS=$stats with a file size of $limit KiB: $?"
	done
done
[ ! -s "$scratch/limited" ] && [ -z "$(ls "$own" "$scratch/folder" | grep '^[0-9]')" ] || fail "a file beyond the limit"
# A signal that is the program's own stays: blocked and pending before, it is there afterwards, and not there otherwise.
cat >"$scratch/pending.c" <<'END'
#include <aio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv)
{
	sigset_t s;
	struct aiocb cb;
	sigemptyset(&s);
	sigaddset(&s, SIGXFSZ);
	if (argc > 1) {
		sigprocmask(SIG_BLOCK, &s, NULL);
		raise(SIGXFSZ);
	}
	memset(&cb, 0, sizeof cb);
	cb.aio_fildes = -1;
	aio_read(&cb);
	sigpending(&s);
	return sigismember(&s, SIGXFSZ) != (argc > 1);
}
END
"$CC" -o "$scratch/pending" "$scratch/pending.c" || fail "pending.c does not compile"
for word in "" pending; do
	(ulimit -f 0; SIGEVEC_STATS=1 LD_PRELOAD=$library "$scratch/pending" $word) || fail "SIGXFSZ, $word before: $?"
done

# A set-user-ID program takes no name from its caller.
"$CC" -o "$scratch/setuid" "$cli_dir/aio_user.c" -Wl,--no-as-needed "$library" -Wl,-rpath,"$scratch" || fail "it does not link"
chmod 4755 "$scratch/setuid"
for stats in 1 "$scratch/public/suid" "$scratch/public/"; do
	SIGEVEC_STATS=$stats as_nobody "$scratch/setuid" "$scratch/data" || fail "a set-user-ID program: $?"
	[ -z "$(find "$own" "$scratch/public" -type f -user root 2>/dev/null)" ] || fail "a set-user-ID program makes the file $stats"
done
"$scratch/setuid" --reads 1 "$scratch/data" && SIGEVEC_STATS=$scratch/plain "$scratch/setuid" "$scratch/data"
[ -s "$scratch/plain" ] || fail "the same program keeps statistics for its own user" # or nothing is shown here

# --- what sigevec stat believes

rm -rf "$own"
as_nobody mkdir -m 700 "$theirs"
sleep 1000 >/dev/null 2>&1 &
sleeper=$!
as_nobody cp "$scratch/valid" "$theirs/$sleeper"
as_nobody cp "$scratch/valid" /dev/shm/sigevec.$sleeper
as_nobody mkdir -m 700 "$theirs/run.x"
as_nobody cp "$scratch/valid" "$theirs/run.x/$sleeper"
stat 1 $sleeper
complains 'keeps no statistics'
# Also when every word of it fits.
start=$(sed 's/.*) //' /proc/$sleeper/stat | cut -d ' ' -f 20)
python3 - "$scratch/valid" "$scratch/forged" $sleeper "$start" <<'END'
import struct, sys
b = bytearray(open(sys.argv[1], 'rb').read())
b[20:24] = struct.pack('<I', int(sys.argv[3]))
b[24:32] = struct.pack('<Q', int(sys.argv[4]))
open(sys.argv[2], 'wb').write(b)
END
chmod 644 "$scratch/forged"
as_nobody cp "$scratch/forged" "$theirs/$sleeper"
stat 1 $sleeper
stat 0 --list
! grep -q ' running ' "$scratch/out" || fail "--list believes another user of root's process"
stat 0 "$scratch/forged"
says "^pid $sleeper \(user\), running"
as_nobody cp "$scratch/forged" "$scratch/public/forged"
stat 0 "$scratch/public/forged"
says "^pid $sleeper \(user\), says user nobody, ended"
# Root's own comes first, and what root says of another's process is believed.
mkdir -m 700 "$own"
cp "$scratch/forged" "$own/$sleeper"
stat 0 $sleeper
says "^pid $sleeper \(user\), running"
rm "$own/$sleeper"
kill $sleeper
# Of a process that has ended nobody can say whose it was: so the answer says who says so.
wait $sleeper 2>/dev/null
stat 0 $sleeper
says "says user nobody, ended"
# Numbers as large as they can be.
python3 - "$scratch/forged" "$scratch/large" <<'END'
import sys
b = bytearray(open(sys.argv[1], 'rb').read())
b[4096:] = b'\xff' * (len(b) - 4096)
open(sys.argv[2], 'wb').write(b)
END
stat 0 "$scratch/large"
stat 0 --json "$scratch/large"
is_json
truncate -s 1G "$scratch/large"
stat 0 "$scratch/large"
# Names that are no numbers, and others than regular files.
as_nobody mkfifo -m 666 "$theirs/77"
as_nobody ln -s "$scratch/valid" "$theirs/78"
as_nobody mkdir "$theirs/79"
as_nobody cp "$scratch/valid" "$theirs/80x"
as_nobody cp "$scratch/valid" "$theirs/81"
as_nobody chmod 666 "$theirs/81"
stat 0 --list
! grep -qE '/(77|78|79|80x|81)$' "$scratch/out" || fail "--list: $(cat "$scratch/out")"
stat 1 77

# Of a user who has filled his folders not everything is looked at.
as_nobody rm -rf "$theirs"
as_nobody mkdir -m 700 "$theirs"
as_nobody mkdir -m 700 "$theirs/run.x"
as_nobody cp "$scratch/valid" "$theirs/run.x/1"
stat 0 --list
says 'run.x/1$'
as_nobody sh -c "cd '$theirs' && seq 1000 5091 | xargs touch"
stat 0 --list
! grep -q 'run.x/1$' "$scratch/out" || fail "--list looks at more than 4096 names of a user's"

# --- what --clear removes

mkdir -m 755 "$scratch/kept"
cp "$scratch/valid" "$scratch/kept/123"
as_nobody rm -rf "$theirs"
for link in /dev/shm/sigevec-run.x "$theirs" /dev/shm/sigevec-65533; do
	as_nobody ln -s "$scratch/kept" "$link"
	stat 0 --clear
	[ -e "$scratch/kept/123" ] || fail "--clear goes through $link"
	rm "$link"
done
as_nobody mkdir -m 700 "$theirs"
as_nobody ln -s "$scratch/kept" "$theirs/run.x"
as_nobody ln -s "$scratch/kept/123" "$theirs/123"
as_nobody cp "$scratch/valid" "$theirs/124"
stat 0 --clear
[ -e "$scratch/kept/123" ] || fail "--clear goes through a link in another user's folder"
[ ! -e "$theirs/124" ] || fail "root's --clear leaves what others have left"
# A name that changes while it is looked at: what is removed is in the folder that was looked at.
cp "$scratch/valid" "$scratch/kept/5"
chmod 700 "$scratch/kept"
setpriv --reuid $nobody --regid $nobody --clear-groups bash -c 'while [ -e "$2" ]; do
	mkdir -m 700 "$1/run.y" && cp "$2" "$1/run.y/5"; mv "$1/run.y" "$1/away"; ln -s "$3" "$1/run.y"; rm "$1/run.y"; rm -rf "$1/away"
done' - "$theirs" "$scratch/valid" "$scratch/kept" >/dev/null 2>&1 &
turning=$!
for _ in $(seq 30); do
	stat 0 --clear
	[ -e "$scratch/kept/5" ] || break
done
kill $turning
wait $turning 2>/dev/null
[ -e "$scratch/kept/5" ] || fail "--clear follows a name that changes"

# --- a child that has given up its rights

cat >"$scratch/child.c" <<'END'
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
static void read_one(int fd)
{
	static char byte;
	struct aiocb cb;
	memset(&cb, 0, sizeof cb);
	cb.aio_fildes = fd;
	cb.aio_buf = &byte;
	cb.aio_nbytes = 1;
	if (aio_read(&cb) != 0)
		_exit(9);
	while (aio_error(&cb) == EINPROGRESS)
		;
}
/* The child writes over whatever of the statistics is in its memory. */
static void spoil(const char *name)
{
	char line[512];
	FILE *f = fopen("/proc/self/maps", "r");
	while (fgets(line, sizeof line, f) != NULL) {
		unsigned long from, to;
		if (strstr(line, name) != NULL && sscanf(line, "%lx-%lx", &from, &to) == 2)
			memset((void *)from, 0x41, to - from);
	}
}
int main(int argc, char **argv)
{
	int fd = open(argv[1], O_RDONLY), status;
	char name[64];
	snprintf(name, sizeof name, "sigevec-%u/%d", (unsigned)geteuid(), (int)getpid());
	read_one(fd);
	pid_t child = fork();
	if (child == 0) {
		spoil(name);
		_exit(0);
	}
	waitpid(child, &status, 0);
	/* One that no handler of fork hears of leaves figures that are not true, and nothing else. */
	child = argc > 2 ? _Fork() : 0;
	if (argc > 2 && child == 0) {
		spoil(name);
		_exit(0);
	}
	if (argc > 2)
		waitpid(child, &status, 0);
	for (int i = 0; i < 9; i++)
		read_one(fd);
	snprintf(name, sizeof name, "sigevec stat --json %d >%s", (int)getpid(), "out");
	if (argc == 2)
		status = system(name);
	return 0;
}
END
mkdir "$scratch/bin"
printf '#!/bin/sh\nunset LD_PRELOAD SIGEVEC_STATS\nexec "%s" "$@"\n' "$SIGEVEC_TOOL" >"$scratch/bin/sigevec"
chmod 755 "$scratch/bin/sigevec"
"$CC" -w -include stdlib.h -o "$scratch/child" "$scratch/child.c" || fail "child.c does not compile"
cd "$scratch" || fail "no $scratch"
PATH=$scratch/bin:$PATH SIGEVEC_STATS=1 LD_PRELOAD=$library "$scratch/child" "$scratch/data" || fail "child: $?"
is_json
json 'd["counters"]["requests"] == 10'
SIGEVEC_STATS=1 LD_PRELOAD=$library "$scratch/child" "$scratch/data" without || fail "a child that fork's handlers do not hear of: $?"
[ -z "$(ls "$own")" ] || fail "the file stays after the exit: $(ls "$own")"
finish
