// SPDX-License-Identifier: MIT
//
// Which requests are those of a number: a number is not a file, nor is an inode.
#include "submit/cancel.hpp"

#include "base/memory_order.hpp"
#include "base/same_file.hpp"
#include "base/thread_id.hpp"
#include "engine/alone.hpp"
#include "engine/streams.hpp"
#include "runtime/helper.hpp"
#include "runtime/table.hpp"

#include <aio.h>
#include <fcntl.h>
#include <iterator>

namespace sigevec::cancel {

namespace {

// Some requests that may be of one number. The driver, which has what holds their files, compares
// them with it.
struct Candidates : helper::Errand {
	explicit Candidates(int f) : Errand(compare), fd(f) {}
	static void compare(helper::Errand *e);

	pid_t caller = thread_id();
	int fd; // in the caller's table
	bool ask = false;
	unsigned count = 0;
	struct {
		Request *request; // kept
		uint64_t word;
		bool other; // it is on another file
	} v[64];
};

void Candidates::compare(helper::Errand *e)
{
	auto *c = static_cast<Candidates *>(e);
	pid_t self = thread_id();
	for (unsigned i = 0; i < c->count; i++) {
		const driver::Stream *s = c->v[i].request->stream;
		c->v[i].other =
			s != nullptr && same_file(self, s->file, c->caller, c->fd) == Same::no;
	}
}

// As far as numbers tell. What a file is open for never changes.
bool may_be_of(const Request *r, const Descriptor &d)
{
	return r->fd.load(mo::relaxed) == d.fd && r->ino.load(mo::relaxed) == d.ino &&
	       r->dev.load(mo::relaxed) == d.dev &&
	       ((r->flags.load(mo::relaxed) ^ d.flags) & O_ACCMODE) == 0;
}

void add(Candidates *c, Request *r, uint64_t word)
{
	if (!requests::keep(r, word >> 8))
		return;
	// A socket's inode is its own. Files are told apart by nothing but that.
	c->ask = c->ask || (r->on_stream() && r->kind != Kind::socket);
	c->v[c->count++] = {r, word, false};
}

void sort_out(Candidates *c)
{
	// A function of the program's may run on the driver's own thread.
	if (!c->ask || !can_compare() || helper::on_helper_thread())
		return;
	helper::post_and_wait(helper::MessageType::errand, c, c);
	for (unsigned i = 0; i < c->count; i++)
		if (alone::any() && alone::is_elsewhere(c->v[i].request, c->caller, c->fd))
			c->v[i].other = true;
}

// What has been found of several: result so far, and of one more.
int together(int result, int one)
{
	return one == AIO_NOTCANCELED || (one == AIO_CANCELED && result == AIO_ALLDONE) ? one
											: result;
}

int end(Candidates *c, int result)
{
	sort_out(c);
	for (unsigned i = 0; i < c->count; i++) {
		if (!c->v[i].other)
			result = together(result, one(c->v[i].request, c->v[i].word));
		requests::release(c->v[i].request);
	}
	return result;
}

} // namespace

int on_file(const Descriptor &d)
{
	int result = AIO_ALLDONE;
	for (uint32_t next = 0; next < requests::size();) {
		Candidates c(d.fd);
		for (; next < requests::size() && c.count < std::size(c.v); next++) {
			Request *r = requests::at(next);
			uint64_t word = r->state.load(mo::acquire);
			if (outstanding(word) && may_be_of(r, d))
				add(&c, r, word);
		}
		result = end(&c, result);
	}
	return result;
}

} // namespace sigevec::cancel
