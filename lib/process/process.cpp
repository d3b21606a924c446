// SPDX-License-Identifier: MIT
#include "runtime/process.hpp"
#include "base/memory_order.hpp"
#include "base/spin.hpp"
#include "base/sync.hpp"
#include "base/thread_id.hpp"
#include "channel/channel.hpp"
#include "channel/posted.hpp"
#include "completion/completed_table.hpp"
#include "completion/waiters.hpp"
#include "dma/association.hpp"
#include "dma/attachment.hpp"
#include "dma/message.hpp"
#include "dma/pool.hpp"
#include "dma/receiver.hpp"
#include "dma/send.hpp"
#include "engine/alone.hpp"
#include "engine/carrier.hpp"
#include "engine/filequeue.hpp"
#include "engine/held_files.hpp"
#include "engine/kaio.hpp"
#include "engine/program_thread.hpp"
#include "engine/rights.hpp"
#include "engine/to_helper.hpp"
#include "ether/device.hpp"
#include "iocontext/context.hpp"
#include "iocontext/order.hpp"
#include "notify/notifier.hpp"
#include "remote/device.hpp"
#include "request/index.hpp"
#include "request/order.hpp"
#include "request/pace.hpp"
#include "request/request.hpp"
#include "request/stream.hpp"
#include "runtime/config.hpp"
#include "runtime/exit_watch.hpp"
#include "runtime/helper.hpp"
#include "runtime/stats.hpp"
#include "runtime/thread.hpp"
#include "source/source.hpp"

#include <pthread.h>
#include <sys/mman.h>

namespace sigevec::process {

std::atomic<Page *> page{nullptr};

namespace {

// Whether set_up has run before in this address space: then this is a child, and all state is the
// parent's.
bool inherited = false;

Page *make_page()
{
	void *m = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return nullptr;
	Page *expected = nullptr;
	auto *mine = static_cast<Page *>(m);
	// A child that had the page would take itself for its parent.
	if (madvise(m, 4096, MADV_WIPEONFORK) == 0 &&
	    page.compare_exchange_strong(expected, mine, mo::acq_rel))
		return mine;
	munmap(m, 4096);
	return expected;
}

// Forget everything of the parent's. Nothing that the parent still uses is written to: locks, lists
// and threads are this process's copies, kernel contexts and sockets are only let go. From the
// users of a thing to the thing itself.
void forget_parent()
{
	forget_thread_ids();
	ether::device::after_fork();
	remote::device::after_fork();
	dma::pool::after_fork();
	dma::receiver::after_fork();
	dma::send::after_fork();
	dma::attachment::after_fork();
	dma::association::after_fork();
	dma::region::after_fork();
	io::after_fork();
	io::order::after_fork();
	channel::after_fork();
	posted::after_fork();
	source::after_fork();
	notifier::after_fork();
	program_thread::after_fork();
	kaio::after_fork();
	helper::Plug::forget();
	helper::after_fork();
	filequeue::after_fork();
	held_files::after_fork();
	order::after_fork();
	pace::after_fork();
	stream::after_fork();
	waiters::after_fork();
	completed_table::after_fork();
	requests::after_fork();
	requests::index::after_fork();
	carrier::after_fork();
	alone::after_fork();
	rights::after_fork();
	stats::after_fork();
	exit_watch::after_fork();
	apart::after_fork();
}

// In a child of fork, which may never call the library: what it must not have of the parent's in
// its table of descriptors is closed, and what an interrupted frame may touch is there. Nothing of
// it would be of use there, but a peer is to see the end of what the parent closes. Children of
// _Fork and clone do without.
void in_child()
{
	io::close_in_child();
	channel::close_in_child();
	remote::device::close_in_child();
	helper::close_in_child();
	program_thread::close_in_child();
	dma::receiver::close_in_child();
	dma::ancillary::close_in_child();
}

} // namespace

bool set_up()
{
	// A handler that left by a longjmp would leave it begun, and everybody waiting for its end.
	BlockSignals blocked;
	Page *p = page.load(mo::acquire);
	if (p == nullptr && (p = make_page()) == nullptr)
		return false;
	uint32_t state = 0;
	if (!p->state.compare_exchange_strong(state, 1, mo::acq_rel)) {
		while (p->state.load(mo::acquire) != 2)
			sched_yield();
		return true;
	}
	if (inherited)
		forget_parent();
	else
		config::read_environment();
	exit_watch::watch_caller();
	Spin::set_up();
	stats::open();
	if (!inherited)
		pthread_atfork(nullptr, nullptr, in_child);
	inherited = true;
	p->state.store(2, mo::release);
	helper::begin();
	return true;
}

} // namespace sigevec::process
