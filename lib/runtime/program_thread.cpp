// SPDX-License-Identifier: MIT
#include "runtime/program_thread.hpp"

#include "completion/completion.hpp"
#include "engine/transfer.hpp"
#include "runtime/helper.hpp"
#include "runtime/sync.hpp"
#include "runtime/syscalls.hpp"

#include <cerrno>
#include <cstdint>
#include <fcntl.h>
#include <sys/socket.h>

namespace sigevec::program_thread {

namespace {

// The helper that knows the way.
std::atomic<helper::Helper *> known{nullptr};
// Held while the thread is started; no request needs it in order to end.
Mutex starting;
int receiving = -1; // in the program's table
uint64_t cookie = 0;

void try_call(Request *r, int file)
{
	r->result = file >= 0 ? transfer::attempt(r, file) : -EMFILE;
	if (file >= 0)
		sys::close(file);
	if (!helper::returned_from_program(r))
		completion::finish(r, r->result);
}

void install(Request *r, int fd)
{
	// It arrived close-on-exec.
	if (fd >= 0 && (r->call_flags & SOCK_CLOEXEC) == 0)
		fcntl(fd, F_SETFD, 0);
	completion::finish(r, fd >= 0 ? fd : -EMFILE);
}

void *main(void *p)
{
	int rx = static_cast<int>(reinterpret_cast<intptr_t>(p));
	for (;;) {
		helper::Packet packet;
		int fd;
		if (helper::receive(rx, &packet, &fd, 1, true) == 0) {
			if (errno == EINTR)
				continue;
			return nullptr;
		}
		auto *r = static_cast<Request *>(packet.object);
		if (packet.what == helper::What::call)
			try_call(r, fd);
		else
			install(r, fd);
	}
}

bool start()
{
	int v[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, v) != 0)
		return false;
	bool ok = helper::copy_to_driver(helper::What::program, nullptr, v[1]) &&
		  start_thread(main, reinterpret_cast<void *>(static_cast<intptr_t>(v[0])), "sigevec-program") == 0;
	sys::close(v[1]);
	if (!ok) {
		sys::close(v[0]);
		return false;
	}
	receiving = v[0];
	socklen_t n = sizeof cookie;
	getsockopt(v[0], SOL_SOCKET, SO_COOKIE, &cookie, &n);
	return true;
}

} // namespace

bool ensure()
{
	helper::Helper *h = helper::get();
	if (h == nullptr || known.load(std::memory_order_acquire) == h)
		return h != nullptr;
	Guard<Mutex> g(starting);
	if (known.load(std::memory_order_relaxed) == h)
		return true;
	if (!start())
		return false;
	known.store(h, std::memory_order_release);
	return true;
}

void after_fork()
{
	starting.reset();
	uint64_t now = 0;
	socklen_t n = sizeof now;
	if (known.exchange(nullptr, std::memory_order_relaxed) != nullptr &&
	    getsockopt(receiving, SOL_SOCKET, SO_COOKIE, &now, &n) == 0 && now == cookie)
		sys::close(receiving);
	receiving = -1;
}

} // namespace sigevec::program_thread
