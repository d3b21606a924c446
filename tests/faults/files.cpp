// SPDX-License-Identifier: MIT
//
// Scenarios: requests on files, their notifications, lists, and children.
#ifdef __x86_64__
#include "scenarios.hpp"

#include <sys/wait.h>

namespace faults {

static constexpr size_t size = 8192;
static unsigned char pattern(size_t i)
{
	return static_cast<unsigned char>(1 + i / 512 + i);
}

static void check_read(const char *what, const unsigned char *data, size_t n, size_t offset = 0)
{
	for (size_t i = 0; i < n; i++)
		if (data[i] != pattern(offset + i)) {
			wrong("%s: a success, but byte %zu is not what the file has", what, i);
			return;
		}
}

static void check_file(const char *what, int fd, const void *expected, size_t n, off_t offset = 0)
{
	std::vector<char> v(n);
	if (raw(SYS_pread64, fd, v.data(), n, offset) != long(n) ||
	    memcmp(v.data(), expected, n) != 0)
		wrong("%s: a success, but the file has other data", what);
}

static void read_with(Tell how)
{
	alignas(4096) static unsigned char data[size];
	memset(data, 0, size);
	const int fd = file("read", O_RDWR, size, 1);
	{
		Notified n(how);
		aiocb cb = request(fd, data, size);
		cb.aio_sigevent = n.event();
		stage("aio_read");
		if (n.usable() && accepted("aio_read", aio_read(&cb))) {
			n.wait(&cb, "aio_read");
			const int e = aio_error(&cb);
			if (ended("aio_read", e, aio_return(&cb), size))
				check_read("aio_read", data, size);
		}
		n.none_more("aio_read");
	}
	close_all({fd});
}
void read_none()
{
	read_with(Tell::none);
}
void read_signal()
{
	read_with(Tell::signal);
}
void read_thread()
{
	read_with(Tell::thread);
}
void read_channel()
{
	read_with(Tell::channel);
}

static void write_with(Tell how, int flags)
{
	alignas(4096) static unsigned char data[3][size];
	memset(data, 'w', sizeof data);
	const int fd = file("write", flags | O_RDWR, size, 1);
	const int look = own(raw(SYS_open, link_of(fd).c_str(), O_RDONLY));
	{
		Notified n(how);
		aiocb cb[3];
		bool in[3] = {};
		for (unsigned i = 0; i < 3 && n.usable(); i++) {
			data[i][0] = static_cast<unsigned char>('0' + i);
			cb[i] = request(fd, data[i], size, off_t(i * size));
			cb[i].aio_sigevent = n.event();
			stage("aio_write");
			in[i] = accepted("aio_write", aio_write(&cb[i]));
			if (in[i] && how != Tell::none)
				n.wait(&cb[i], "aio_write");
		}
		for (unsigned i = 0; i < 3; i++) {
			if (!in[i])
				continue;
			stage("aio_write: its end");
			poll_end(&cb[i]);
			const int e = aio_error(&cb[i]);
			if (ended("aio_write", e, aio_return(&cb[i]), size))
				check_file("aio_write", look, data[i], size, off_t(i * size));
		}
		n.none_more("aio_write");
	}
	close_all({fd, look});
}
void write_none()
{
	write_with(Tell::none, 0);
}
void write_signal()
{
	write_with(Tell::signal, 0);
}
void write_thread()
{
	write_with(Tell::thread, 0);
}
void write_channel()
{
	write_with(Tell::channel, 0);
}
void direct_write()
{
	write_with(Tell::none, O_DIRECT);
}
void direct_channel()
{
	write_with(Tell::channel, O_DIRECT);
}
void sync_write()
{
	write_with(Tell::signal, O_DSYNC);
}

void direct_read()
{
	alignas(4096) static unsigned char data[4][4096];
	memset(data, 0, sizeof data);
	const int fd = file("direct", O_RDWR | O_DIRECT, sizeof data, 1);
	aiocb cb[4];
	bool in[4];
	for (unsigned i = 0; i < 4; i++) {
		cb[i] = request(fd, data[i], 4096, off_t(i * 4096));
		stage("aio_read of O_DIRECT");
		in[i] = accepted("aio_read", aio_read(&cb[i]));
	}
	for (unsigned i = 0; i < 4; i++) {
		if (!in[i])
			continue;
		suspend(&cb[i]);
		const int e = aio_error(&cb[i]);
		if (ended("aio_read", e, aio_return(&cb[i]), 4096))
			check_read("aio_read", data[i], 4096, i * 4096);
	}
	close_all({fd});
}

void append()
{
	static char data[6][600];
	const int fd = file("append", O_RDWR | O_APPEND);
	const int look = own(raw(SYS_open, link_of(fd).c_str(), O_RDONLY));
	aiocb cb[6];
	bool in[6];
	for (unsigned i = 0; i < 6; i++) {
		memset(data[i], 'a' + int(i), 600);
		cb[i] = request(fd, data[i], 600);
		stage("aio_write of O_APPEND");
		in[i] = accepted("aio_write", aio_write(&cb[i]));
	}
	std::vector<char> expected;
	for (unsigned i = 0; i < 6; i++) {
		if (!in[i])
			continue;
		suspend(&cb[i]);
		const int e = aio_error(&cb[i]);
		if (ended("append", e, aio_return(&cb[i]), 600))
			expected.insert(expected.end(), data[i], data[i] + 600);
	}
	check_file("appends", look, expected.data(), expected.size());
	struct stat s;
	raw(SYS_fstat, look, &s);
	if (size_t(s.st_size) != expected.size())
		wrong("appends: the file has %ld bytes instead of %zu", long(s.st_size),
		      expected.size());
	close_all({fd, look});
}

static void fsync_with(Tell how)
{
	static char data[size];
	const int fd = file("fsync", O_RDWR);
	{
		Notified n(how);
		aiocb w = request(fd, data, size), f = request(fd, nullptr, 0);
		f.aio_sigevent = n.event();
		stage("aio_write before aio_fsync");
		const bool in = accepted("aio_write", aio_write(&w));
		stage("aio_fsync");
		if (n.usable() && accepted("aio_fsync", aio_fsync(O_SYNC, &f))) {
			n.wait(&f, "aio_fsync");
			if (in && aio_error(&w) == EINPROGRESS)
				wrong("aio_fsync ends before what was queued before it");
			const int e = aio_error(&f);
			ended("aio_fsync", e, aio_return(&f), 0);
		}
		if (in) {
			suspend(&w);
			const int e = aio_error(&w);
			ended("aio_write", e, aio_return(&w), size);
		}
		n.none_more("aio_fsync");
	}
	close_all({fd});
}
void fsync_none()
{
	fsync_with(Tell::none);
}
void fsync_signal()
{
	fsync_with(Tell::signal);
}

void vectors()
{
	static char data[4][100], back[4][100];
	const int fd = file("vectors", O_RDWR);
	iovec v[4], b[4];
	for (unsigned i = 0; i < 4; i++) {
		memset(data[i], 'a' + int(i), 100);
		v[i] = {data[i], 100};
		b[i] = {back[i], 100};
	}
	memset(back, 0, sizeof back);
	aiocb w = request(fd, v, 4), r = request(fd, b, 4);
	stage("aio_writev");
	if (accepted("aio_writev", aio_writev(&w))) {
		suspend(&w);
		const int e = aio_error(&w);
		if (ended("aio_writev", e, aio_return(&w), 400)) {
			check_file("aio_writev", fd, data, 400);
			stage("aio_readv");
			if (accepted("aio_readv", aio_readv(&r))) {
				suspend(&r);
				const int f = aio_error(&r);
				if (ended("aio_readv", f, aio_return(&r), 400) &&
				    memcmp(back, data, 400) != 0)
					wrong("aio_readv: other data");
			}
		}
	}
	close_all({fd});
}

// --------------------------------------------------------------------------- lists

struct List {
	static constexpr unsigned n = 6;
	unsigned char data[n][1024];
	aiocb cb[n];
	aiocb *v[n];
	int fd, p[2], s[2];

	List()
	{
		memset(data, 'l', sizeof data);
		fd = file("list", O_RDWR, 4096, 1);
		pipe(p);
		pair(s, SOCK_STREAM);
		put(s[1], data, 1024);
		const int on[n] = {fd, fd, p[1], p[0], s[0], s[0]};
		const int what[n] = {LIO_READ, LIO_WRITE, LIO_WRITE, LIO_READ, LIO_READ, LIO_WRITE};
		for (unsigned i = 0; i < n; i++) {
			cb[i] = request(on[i], data[i], 1024, i == 1 ? 2048 : 0);
			cb[i].aio_lio_opcode = what[i];
			v[i] = &cb[i];
		}
	}
	~List() { close_all({fd, p[0], p[1], s[0], s[1]}); }

	/// The ones that the list has taken have ended; the read of the pipe ends by hand if its
	/// write has failed.
	void check(bool whole)
	{
		for (unsigned i : {0u, 1u, 2u, 4u, 5u, 3u}) {
			stage("the requests of a list");
			if (i == 3 && aio_error(&cb[3]) == EINPROGRESS && aio_error(&cb[2]) != 0)
				put(p[1], data[2], 1024);
			suspend(&cb[i]);
			const int e = aio_error(&cb[i]);
			if (whole)
				ended("a request of a list", e, aio_return(&cb[i]), 1024);
			else if (e != 0 && e != EAGAIN && e != shared->error && e != ENOMEM)
				wrong("request %u of a list has the status %s", i,
				      strerrorname_np(e));
		}
	}
};

void list_wait()
{
	List l;
	stage("lio_listio(LIO_WAIT)");
	// What would be written to the pipe may have failed, so that its reader waits for ever.
	const int other = own(raw(SYS_dup, l.p[1]));
	l.v[3] = nullptr;
	l.cb[3].aio_lio_opcode = LIO_NOP;
	const int r = lio_listio(LIO_WAIT, l.v, List::n, nullptr);
	const int e = errno;
	bool all = true;
	for (unsigned i : {0u, 1u, 2u, 4u, 5u}) {
		const int s = aio_error(&l.cb[i]);
		all = all && s == 0;
		if (s == EINPROGRESS && !(r == -1 && e == EINTR))
			wrong("lio_listio(LIO_WAIT) returns before the end of request %u", i);
	}
	if (r == 0 && !all)
		wrong("lio_listio(LIO_WAIT) returns 0, and not all have gone well");
	if (r == -1 && all && e != EINTR)
		wrong("lio_listio(LIO_WAIT) fails with %s, and all have gone well",
		      strerrorname_np(e));
	accepted("lio_listio", r, {EAGAIN, EIO, shared->error == EINTR ? EINTR : EIO});
	for (unsigned i : {0u, 1u, 2u, 4u, 5u}) {
		suspend(&l.cb[i]);
		const int s = aio_error(&l.cb[i]);
		if (s == 0 && aio_return(&l.cb[i]) != 1024)
			wrong("request %u of a list: status 0 and the result %ld", i,
			      long(aio_return(&l.cb[i])));
	}
	unsigned char back[1024];
	if (aio_error(&l.cb[1]) == 0)
		check_file("a write of a list", l.fd, l.data[1], 1024, 2048);
	if (aio_error(&l.cb[2]) == 0 && (!take(l.p[0], back, 1024) || back[5] != 'l'))
		wrong("a list's write to a pipe: other data");
	if (aio_error(&l.cb[5]) == 0 && (!take(l.s[1], back, 1024) || back[5] != 'l'))
		wrong("a list's write to a socket: other data");
	close_all({other});
}

static void list_with(Tell how)
{
	List l;
	// What a list has to say that took none of its requests may come later than anybody waits.
	Notified &n = *new Notified(how);
	if (!n.usable()) {
		delete &n;
		return;
	}
	sigevent e = n.event();
	stage("lio_listio(LIO_NOWAIT)");
	const int r = lio_listio(LIO_NOWAIT, l.v, List::n, &e);
	const bool good = accepted("lio_listio", r, {EAGAIN, EIO});
	// A list of which some were refused goes on with the others, and is told of: POSIX and
	// glibc.
	if (aio_error(&l.cb[3]) == EINPROGRESS) {
		stage("the list's write to a pipe");
		suspend(&l.cb[2]);
		if (aio_error(&l.cb[2]) != 0)
			put(l.p[1], l.data[2], 1024);
	}
	// A list that was refused whole has done nothing, and is not told of.
	bool nothing = !good;
	for (const aiocb &cb : l.cb)
		nothing = nothing && aio_error(&cb) == EAGAIN;
	if (!nothing)
		n.wait(nullptr, "lio_listio");
	for (unsigned i = 0; i < List::n; i++)
		if (aio_error(&l.cb[i]) == EINPROGRESS)
			wrong("a list is told of before the end of its request %u", i);
	l.check(good);
	if (nothing)
		n.take_what_there_is();
	n.none_more("lio_listio");
	if (how != Tell::thread)
		delete &n;
}
void list_signal()
{
	list_with(Tell::signal);
}
void list_thread()
{
	list_with(Tell::thread);
}
void list_channel()
{
	list_with(Tell::channel);
}

// ------------------------------------------------------------------------- children

/// A child of fork starts its own requests, while the parent's wait.
void fork_child()
{
	static char data[100], mine[100];
	int p[2];
	pipe(p);
	const int fd = file("fork", O_RDWR, 4096, 1);
	const int direct = file("forkdirect", O_RDWR | O_DIRECT, 4096, 1);
	alignas(4096) static unsigned char page[4096];
	aiocb cb = request(p[0], data, 5);
	stage("aio_read before fork");
	const bool in = accepted("aio_read", aio_read(&cb));
	stage("a child of fork");
	const pid_t child = fork();
	if (child == 0) {
		aiocb r = request(fd, mine, 100), w = request(fd, mine, 100, 200),
		      d = request(direct, page, 4096);
		aiocb f = request(fd, nullptr, 0);
		memset(mine, 'c', 100);
		stage("a child's aio_write");
		if (accepted("a child's aio_write", aio_write(&w))) {
			suspend(&w);
			const int e = aio_error(&w);
			if (ended("a child's aio_write", e, aio_return(&w), 100))
				check_file("a child's aio_write", fd, mine, 100, 200);
		}
		stage("a child's aio_fsync");
		if (accepted("a child's aio_fsync", aio_fsync(O_SYNC, &f))) {
			suspend(&f);
			const int e = aio_error(&f);
			ended("a child's aio_fsync", e, aio_return(&f), 0);
		}
		stage("a child's aio_read");
		if (accepted("a child's aio_read", aio_read(&r))) {
			suspend(&r);
			const int e = aio_error(&r);
			if (ended("a child's aio_read", e, aio_return(&r), 100))
				check_read("a child's aio_read",
					   reinterpret_cast<unsigned char *>(mine), 100);
		}
		stage("a child's aio_read of O_DIRECT");
		if (accepted("a child's aio_read", aio_read(&d))) {
			suspend(&d);
			const int e = aio_error(&d);
			if (ended("a child's aio_read of O_DIRECT", e, aio_return(&d), 4096))
				check_read("a child's aio_read of O_DIRECT", page, 4096);
		}
		raw(SYS_exit_group, 0);
	}
	if (child < 0) {
		accepted("fork", -1, {EAGAIN, ENOMEM, ENOSYS, shared->error});
	} else {
		int status;
		while (raw(SYS_wait4, child, &status, 0, nullptr) == -EINTR)
			;
		if (status != 0)
			wrong("the child ends with status %#x", status);
	}
	put(p[1], "hello", 5);
	if (in) {
		suspend(&cb);
		const int e = aio_error(&cb);
		if (ended("aio_read", e, aio_return(&cb), 5) && memcmp(data, "hello", 5) != 0)
			wrong("aio_read: other data");
	}
	close_all({p[0], p[1], fd, direct});
}

void wait_complete()
{
	static unsigned char data[3][512];
	const int fd = file("complete", O_RDWR, 4096, 1);
	aiocb cb[3], *found;
	unsigned in = 0;
	for (unsigned i = 0; i < 3; i++) {
		cb[i] = request(fd, data[i], 512, off_t(i * 512));
		stage("aio_read");
		in += accepted("aio_read", aio_read(&cb[i]));
	}
	for (; in > 0; in--) {
		stage("aio_waitcomplete");
		const ssize_t r = aio_waitcomplete(&found, nullptr);
		const int e = errno;
		if (r < 0 && found == nullptr) {
			accepted("aio_waitcomplete", r, {EAGAIN, shared->error});
			in += e == EINTR;
			continue;
		}
		const size_t i = size_t(found - cb);
		if (i >= 3)
			wrong("aio_waitcomplete gives something else");
		else if (ended("aio_waitcomplete", r < 0 ? e : 0, r, 512))
			check_read("aio_waitcomplete", data[i], 512, i * 512);
	}
	close_all({fd});
}

} // namespace faults

#endif
