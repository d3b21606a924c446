// SPDX-License-Identifier: MIT
//
// Requests for the helper: with their files, to the driver or to a worker.
#pragma once

#include "request/request.hpp"
#include "runtime/helper.hpp"

namespace sigevec::helper {

// Hands r and its descriptor to the driver or to a worker. 0; or -errno: nothing has been done.
// Async-signal-safe once the helper runs.
int to_driver(Request *r);
// what: job; or file_queue, which r begins.
// file: the number in the helper's table, of a file queue; or nullptr.
int to_worker(MessageType type, Request *r, int *file = nullptr);

// By a thread of the helper's: r, which was sent as *_put, has its file, or -errno.
void take_put(Helper *h, Request *r);
// r, which was accepted, gets no file.
void end_without_file(Request *r);
// While one exists, what its thread hands to the driver is collected, and goes to it together at
// the end. A request that then cannot be handed over ends with the error. What the driver gets
// together it submits to its ring at once.
class Plug {
public:
	Plug();
	~Plug();
	Plug(const Plug &) = delete;
	Plug &operator=(const Plug &) = delete;
	void add(Request *r);
	// In the child of fork: its parent's requests are not the child's.
	static void forget();

private:
	void flush();
	unsigned count_ = 0;
	Request *requests_[most_handed_over];
};

// Whether this thread has a Plug.
bool collecting();

// From a thread of the helper, the file being r->file already.
void job_from_inside(Helper *h, Request *r);
void returned_from_inside(Helper *h, Request *r);
// The same, to the driver, with a file of which the caller keeps its own copy.
void request_from_inside(Helper *h, Request *r, int fd);

// The same from the program's thread. False: there is no driver any more.
bool returned_from_program(Request *r);

// Takes over a reference to r, which was cancelled or is unwanted: the driver lets go of it, or
// ends it, when it is next awake, which wake() sees to. Async-signal-safe, any thread.
void let_go(Request *r);

// To cancel what is in its ring. The answer: 1 + AIO_CANCELED, AIO_NOTCANCELED or AIO_ALLDONE.
struct CancelReply : Reply {
	static constexpr int look_again = 3; // an answer beside those of aio_cancel

	CancelReply(Request *r, uint64_t w) : request(r), word(w) {}
	Request *request;
	uint64_t word;               // Request::state that is meant
	CancelReply *next = nullptr; // others who ask the same
};

// Asks the driver, and waits. 0: there is no driver.
uint32_t ask(CancelReply *reply);

} // namespace sigevec::helper
