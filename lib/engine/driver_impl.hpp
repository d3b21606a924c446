// SPDX-License-Identifier: MIT
//
// The driver's state and its steps, for its own files: driver.cpp (the loop), driver_inbox.cpp
// (what arrives, and files), driver_ring.cpp (what the ring says, and cancelling),
// driver_streams.cpp (streams), driver_syncs.cpp (what waits for others), driver_threads.cpp (what
// others carry out for them), driver_wait.cpp (how they wait). All of it belongs to the driver's
// thread.
#pragma once

#include "engine/driver.hpp"
#include "engine/to_helper.hpp"

#include "engine/ring.hpp"
#include "engine/streams.hpp"

#include <cerrno>

namespace sigevec::driver {

using helper::CancelReply;
using helper::Helper;
using helper::MessageType;
using helper::Post;
using helper::RegionReply;

class Driver {
public:
	explicit Driver(Helper *h) : helper_(h) {}
	bool prepare();
	void run();
	void look_later() { look_ = true; }

private:
	bool has_ring() const { return helper_->has_ring.load(mo::relaxed); }

	// driver.cpp
	void look();
	void stop_again(Request *r);
	int patience();
	bool nothing_new();
	void wait_with_ring(int ms);
	bool wait_by_epoll();
	void leave_ring();
	void take_from_ring();
	void wait_with_epoll(int ms);

	// driver_inbox.cpp
	void take_posts();
	void take(Post *p);
	void take_hand_over(helper::HandOver *o);
	void take_put(Request *r);
	void take_returned(Request *r);
	void take_request(Request *r, int fd);
	void take_unwanted(Request *r);
	void add_to_stream(Request *r, int fd);
	bool by_ring(const Request *file_request) const;
	void start_file(Request *r);

	// driver_ring.cpp
	void file_from_ring(Request *r, ssize_t n);
	void cancellation_from_ring(Request *r, ssize_t result);
	void cancel(CancelReply *reply);
	bool stop_waiting(Request *r, CancelReply *reply);
	static void answer(CancelReply *reply, int a);
	void answer(RegionReply *reply);
	void answer_request(Request *r, int a);
	void from_ring(const Ring::Completion &c);

	// driver_streams.cpp
	void step(Stream *s);
	static bool may_be_stopped(const Request *r);
	bool start(Stream *s, Request *r);
	bool start_plain(Stream *s, Request *r);
	bool start_in_ring(Stream *s, Request *r);
	bool asks_worker(Stream *s, Request *r);
	ssize_t attempt(Stream *s, Request *r, bool *given);
	bool ask_briefly(Stream *s, Request *r);
	bool try_now(Stream *s, Request *r);
	static void forget_connection(Request *r);
	bool transferred(Stream *s, Request *r, ssize_t n);
	void end_first(Stream *s, ssize_t result);
	void end(Request *r, ssize_t result) const;
	bool end_behind(Stream *s, Request *r);
	void end_all_behind(Stream *s);
	Request *take_first(Stream *s);
	void drop(Stream *s, Request *r);
	void end_unwanted(Stream *s, Request *r);
	void stream_from_ring(Request *r, ssize_t n);
	bool ended_by_ring(Stream *s, Request *r, ssize_t n, bool cancelled, bool stops);

	// driver_syncs.cpp
	void wait_for_others(Request *r);
	static bool joins(const Request *r, const Request *sync);
	static void gather(Request *sync);
	void start_sync(Request *r);
	void run_free_syncs();

	// driver_threads.cpp
	bool start_carried(Stream *s, Request *r);
	void carried(Stream *s, Request *r);
	void stop(Request *r);
	void give_to_worker(Stream *s, Request *r);
	void pass_to_worker(Stream *s, Request *r);
	void give_to_program(Stream *s, Request *r);
	void returned(Stream *s, Request *r);
	int end_of_call(Stream *s, Request *r, bool wanted);
	bool accepted(Stream *s, Request *r, int fd);

	// driver_wait.cpp
	static bool differs_in_ring(const Request *r, int file);
	bool wait_until_ready(Stream *s, Request *r);
	void note_wait(Stream *s, Request *r);
	void note_wait_for_room(Stream *s, Request *r);
	void time_has_come(Stream *s, uint64_t now);
	void look_by_clock();
	static bool waits_by_readiness(const Request *r);
	bool arm(Stream *s);
	bool cannot_watch(Stream *s, int error);
	void look_soon(Stream *s);
	bool has_epoll();
	int watch(OpenFile *o, uint32_t events);
	void file_is_ready(OpenFile *o, uint32_t events);
	void take_ready(int ms);
	void watch_again();
	void limit_time(Request *r, int64_t limit);
	static bool time_is_up(const Request *r);

	Helper *helper_;
	Streams streams_;
	Queue<Request> waiting_syncs_;
	Ring ring_;
	int epoll_ = -1; // for what the ring would wait for otherwise than the call does; without a
			 // ring, for everything
	uint64_t next_look_ = 0; // no stream is to be looked at by the clock before that;
				 // monotonic, in ns; 0: none is
	bool look_ = false;
	bool retry_ = false; // a carrier is to be interrupted, which may take several attempts
};

// Whether the ring says that it has cancelled r, because somebody asked for that.
inline bool was_cancelled(const Request *r, ssize_t n)
{
	return r->cancel_reply != nullptr && (n == -ECANCELED || n == -EINTR);
}

} // namespace sigevec::driver
