// SPDX-License-Identifier: MIT
//
// What the tests of programs on libaio share. These programs are linked with libaio, and not with
// the library: run bare, they are carried out by the kernel, which is the judge; run with
// libsigevec_aio.so.1 preloaded, by the library.
#ifndef CONTRACT_LIBAIO_HPP
#define CONTRACT_LIBAIO_HPP

#include "support.hpp"

#include <climits>
#include <dlfcn.h>
#include <libaio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>

namespace contract {

/// Whether the library is there. What kernel AIO is wrong about, or waits for, is asked of the
/// library alone.
inline bool ours()
{
	static const bool there = dlsym(RTLD_DEFAULT, "sigevec_io_setup") != nullptr;
	return there;
}

/// The kernel's struct aio_ring.
struct Ring {
	unsigned id, size;
	std::atomic<unsigned> head, tail;
	unsigned magic, compat, incompat, header_length;
	io_event events[];
};

class Context {
public:
	explicit Context(int nr = 64)
	{
		const int e = io_setup(nr, &context_);
		if (!ours() && (e == -EAGAIN || e == -ENOSYS || e == -EPERM))
			skip_program("the kernel gives no context");
		BOOST_TEST_REQUIRE(e == 0);
	}
	Context(const Context &) = delete;
	~Context()
	{
		if (context_ != nullptr)
			io_destroy(context_);
	}
	operator io_context_t() const { return context_; }
	Ring *ring() const { return reinterpret_cast<Ring *>(context_); }
	io_context_t release() { return std::exchange(context_, nullptr); }

private:
	io_context_t context_ = nullptr;
};

/// A page-aligned buffer and its iocb. Kept until the program ends.
struct Op {
	iocb cb{};
	std::unique_ptr<char, FreeMemory> memory;
	size_t size;
	std::array<iovec, 2> halves{};

	Op(int opcode, int fd, size_t bytes, long long offset)
	    : memory(static_cast<char *>(aligned_alloc(4096, (bytes + 4096) / 4096 * 4096))),
	      size(bytes)
	{
		memset(memory.get(), '?', (bytes + 4096) / 4096 * 4096);
		cb.aio_lio_opcode = static_cast<short>(opcode);
		cb.aio_fildes = fd;
		cb.data = this;
		cb.key = 7;
		if (opcode == IO_CMD_PREADV || opcode == IO_CMD_PWRITEV) {
			halves = {iovec{data(), bytes / 2},
				  iovec{data() + bytes / 2, bytes - bytes / 2}};
			cb.u.c.buf = halves.data();
			cb.u.c.nbytes = 2;
		} else if (opcode == IO_CMD_PREAD || opcode == IO_CMD_PWRITE) {
			cb.u.c.buf = data();
			cb.u.c.nbytes = bytes;
		}
		cb.u.c.offset = offset;
	}
	char *data() { return memory.get(); }
	std::string text() { return {data(), size}; }
	Op &with(std::string_view text)
	{
		memcpy(data(), text.data(), text.size());
		return *this;
	}
	Op &flags(int rw)
	{
		cb.aio_rw_flags = rw;
		return *this;
	}
	Op &tells(int eventfd)
	{
		io_set_eventfd(&cb, eventfd);
		return *this;
	}
};
inline Op &keep_op(int opcode, int fd, size_t bytes = 0, long long offset = 0)
{
	static std::mutex lock;
	static auto &kept = *new std::list<Op>;
	std::lock_guard guard(lock);
	return kept.emplace_back(opcode, fd, bytes, offset);
}
inline Op &read_op(int fd, size_t bytes, long long offset = 0)
{
	return keep_op(IO_CMD_PREAD, fd, bytes, offset);
}
inline Op &write_op(int fd, std::string_view text, long long offset = 0)
{
	return keep_op(IO_CMD_PWRITE, fd, text.size(), offset).with(text);
}
inline Op &poll_op(int fd, int events)
{
	Op &op = keep_op(IO_CMD_POLL, fd);
	op.cb.u.c.buf = reinterpret_cast<void *>(static_cast<long>(events));
	return op;
}

inline int submit(io_context_t context, iocb *cb)
{
	return io_submit(context, 1, &cb);
}
inline int submit(io_context_t context, Op &op)
{
	return submit(context, &op.cb);
}

inline int get(io_context_t context, long min, long nr, io_event *events)
{
	timespec limit{hang_limit.count(), 0};
	return io_getevents(context, min, nr, events, &limit);
}
/// The next event; one with res2 == 77 says that there was none.
inline io_event next(io_context_t context)
{
	io_event event{};
	if (const int n = get(context, 1, 1, &event); n != 1) {
		event.res = static_cast<unsigned long>(n);
		event.res2 = 77;
	}
	return event;
}
/// Submits one and waits for it: the result, or what io_submit said less 1000000.
inline long run(io_context_t context, Op &op)
{
	if (const int n = submit(context, op); n != 1)
		return n - 1000000;
	const io_event event = next(context);
	BOOST_TEST(event.res2 == 0u);
	BOOST_TEST(event.obj == &op.cb);
	BOOST_TEST(event.data == &op);
	return static_cast<long>(event.res);
}
inline constexpr long refused(int error)
{
	return -error - 1000000;
}

/// A system call that nobody takes the place of.
inline long kernels_own(long number, long a, long b, long c = 0, long d = 0, long e = 0)
{
#if defined __x86_64__
	register long r10 asm("r10") = d;
	register long r8 asm("r8") = e;
	long result;
	asm volatile("syscall"
		     : "=a"(result)
		     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
		     : "rcx", "r11", "memory");
	return result;
#elif defined __aarch64__
	register long x8 asm("x8") = number;
	register long x0 asm("x0") = a;
	register long x1 asm("x1") = b;
	register long x2 asm("x2") = c;
	register long x3 asm("x3") = d;
	register long x4 asm("x4") = e;
	asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
#else
	(void)number, (void)a, (void)b, (void)c, (void)d, (void)e;
	return -ENOSYS;
#endif
}

} // namespace contract

using namespace contract;

#endif
