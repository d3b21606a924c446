// SPDX-License-Identifier: MIT
//
// The driver's loop: how it looks for something to do, and sleeps.
#include "base/memory_order.hpp"
#include "dma/zero_copy.hpp"
#include "engine/driver_impl.hpp"
#include "engine/rights.hpp"
#include "engine/to_helper.hpp"
#include "engine/worker.hpp"
#include "runtime/config.hpp"
#include "runtime/copies.hpp"

#include <cerrno>
#include <cstdlib>
#include <new>
#include <sys/epoll.h>
#include <unistd.h>

namespace sigevec::driver {

namespace {

// How often workers that may be stuck are looked at.
constexpr int watch_ms = 100;

constexpr uint64_t longest_sleep = 1 << 30;

// How often a carrier is interrupted that is to stop.
constexpr int retry_ms = 2;

thread_local Driver *here __attribute__((tls_model("initial-exec"))) = nullptr;

} // namespace

// r is with a thread that has not come back since it was interrupted.
void Driver::stop_again(Request *r)
{
	if (r->has_begun())
		answer_request(r, AIO_NOTCANCELED);
	else
		stop(r);
}

// Streams and fsyncs that somebody else may have changed.
void Driver::look()
{
	look_ = false;
	run_free_syncs();
	streams_.each([this](Stream *s) {
		if (s->busy && s->requests.first() != nullptr &&
		    s->requests.first()->is_by_thread() &&
		    s->requests.first()->cancel_reply != nullptr)
			stop_again(s->requests.first());
		if (!s->busy && !s->armed)
			step(s);
	});
}

// How long to wait, in milliseconds; what is to be tried again then is looked at.
int Driver::patience()
{
	if (retry_)
		look_ = true;
	bool watch = worker::watch(helper_);
	int ms = retry_ ? retry_ms : watch ? watch_ms : -1;
	retry_ = false;
	if (next_look_ != 0) {
		uint64_t now = monotonic_ns();
		uint64_t rest = now < next_look_ ? (next_look_ - now + 999999) / 1000000 : 0;
		if (ms < 0 || rest < static_cast<uint64_t>(ms))
			ms = static_cast<int>(rest < longest_sleep ? rest : longest_sleep);
	}
	return ms;
}

// Before it sleeps. True: nobody has anything for it, and who has later wakes it
// (runtime/driver_wakeup.hpp).
bool Driver::nothing_new()
{
	helper_->wakeup.will_sleep();
	return helper_->inbox.empty() && !helper_->look.load(mo::seq_cst) &&
	       !helper_->look_at_syncs.load(mo::seq_cst) && !helper_->want_worker.load(mo::seq_cst);
}

void Driver::wait_with_ring(int ms)
{
	ring_.wait(ms);
	helper_->wakeup.does_not_sleep();
	if (ring_.lost())
		leave_ring();
	take_from_ring();
}

void Driver::take_from_ring()
{
	Ring::Completion c;
	while (ring_.next(&c))
		from_ring(c);
}

// A filter that came later refuses the ring. What is in it goes on by readiness and by workers.
void Driver::leave_ring()
{
	if (!wait_by_epoll())
		return; // no descriptor: tried again, as the ring is
	helper_->has_ring.store(false, mo::relaxed);
	dma::zero_copy::without_ring();
	ring_.leave();
	look_ = true;
}

void Driver::wait_with_epoll(int ms)
{
	// A ring that was left tells nobody when it has given something up.
	constexpr int moment = 5;
	bool left = ring_.outstanding();
	take_ready(left && (ms < 0 || ms > moment) ? moment : ms);
	if (left)
		take_from_ring();
}

bool Driver::prepare()
{
	rights::helper_has(Rights::own());
	helper_->wakeup.set_up();
	bool wanted =
		config::force == config::Force::automatic || config::force == config::Force::uring;
	helper_->has_ring.store(
		wanted && ring_.open(config::limits.ring.load(mo::relaxed), &helper_->wakeup),
		mo::relaxed);
	if (has_ring())
		return true;
	dma::zero_copy::without_ring();
	return wait_by_epoll();
}

// From now on what wakes the driver is in its epoll instance.
bool Driver::wait_by_epoll()
{
	int woken = helper_->wakeup.by_signal();
	struct epoll_event e = {};
	e.events = EPOLLIN | EPOLLET;
	return has_epoll() && epoll_ctl(epoll_, EPOLL_CTL_ADD, woken, &e) == 0;
}

void Driver::run()
{
	for (;;) {
		take_posts();
		while (look_)
			look();
		look_by_clock();
		run_free_syncs();
		streams_.sweep();
		int ms = patience();
		if (!nothing_new())
			ms = 0;
		if (has_ring())
			wait_with_ring(ms);
		else
			wait_with_epoll(ms);
	}
}

void *create(helper::Helper *h)
{
	void *m = malloc(sizeof(Driver));
	return m == nullptr ? nullptr : new (m) Driver(h);
}

bool prepare(void *driver)
{
	here = static_cast<Driver *>(driver);
	return here->prepare();
}

void run(void *driver)
{
	static_cast<Driver *>(driver)->run();
}

bool on_driver_thread()
{
	return here != nullptr;
}

void look_later()
{
	here->look_later();
}

} // namespace sigevec::driver
