// SPDX-License-Identifier: MIT
//
// Credits of a channel: the low half of its life, which counts the events that have been admitted.
#include "channel/channel_impl.hpp"

#include "base/memory_order.hpp"
#include "channel/reader_fds.hpp"

#include <cerrno>

namespace sigevec::channel {

namespace {

// Adds to the life of the channel that has this descriptor, unless it is over, or `full' holds.
template <class Full> int join(int fd, uint64_t what, Full full, Channel **found)
{
	auto *s = table.find(fd);
	Channel *c = s != nullptr ? s->load(mo::acquire) : nullptr;
	if (c == nullptr)
		return EBADF;
	uint64_t life = c->life.load(mo::relaxed);
	do {
		if (life == 0)
			return EBADF;
		if (full(c, life))
			return EAGAIN;
	} while (!c->life.compare_exchange_weak(life, life + what, mo::acq_rel));
	// It may have ended before that, and be another one now.
	if (s->load(mo::acquire) != c) {
		drop(c, what);
		return EBADF;
	}
	*found = c;
	return 0;
}

bool is_full(const Channel *c, uint64_t life)
{
	return admitted(life) >= c->limit.load(mo::relaxed);
}

void note_high_water(Channel *c, uint32_t n)
{
	uint32_t most = c->high_water.load(mo::relaxed);
	if (n <= most)
		return;
	while (n > most && !c->high_water.compare_exchange_weak(most, n, mo::relaxed))
		;
	if (c->figures != nullptr)
		c->figures->high_water.store(c->high_water.load(mo::relaxed), mo::relaxed);
}

// For the statistics file, while the caller has a share in the life.
void note_admitted(Channel *c, uint64_t n)
{
	if (c->figures != nullptr)
		c->figures->admitted.fetch_add(n, mo::relaxed);
}

} // namespace

Channel *peek(int fd)
{
	Channel *c = nullptr;
	auto never = [](const Channel *, uint64_t) { return false; };
	return join(fd, one_reference, never, &c) == 0 ? c : nullptr;
}

bool full(const Channel *c)
{
	return is_full(c, c->life.load(mo::seq_cst));
}

namespace {

void note_refused(Channel *c)
{
	c->refused.fetch_add(1, mo::relaxed);
	if (c->figures != nullptr)
		c->figures->refused.fetch_add(1, mo::relaxed);
}

// The channel is at its limit; but registrations may have ended unheard, whose credits are free
// once that has been read.
int join_after_collecting(int fd, uint64_t what, Channel **found)
{
	Channel *c = peek(fd);
	if (c == nullptr)
		return EBADF;
	reader_fds::collect(c);
	int error = join(fd, what, is_full, found);
	if (error == EAGAIN) {
		note_refused(c);
		signal_if_due(c);
	}
	release(c);
	return error;
}

int join_with_credit(int fd, uint64_t what, Channel **found)
{
	int error = join(fd, what, is_full, found);
	if (error == EAGAIN)
		error = join_after_collecting(fd, what, found);
	if (error == 0) {
		note_admitted(*found, 1);
		note_high_water(*found, admitted((*found)->life.load(mo::relaxed)));
	}
	return error;
}

} // namespace

int admit_and_keep(int fd, Channel **found)
{
	return join_with_credit(fd, one_event + one_reference, found);
}

int admit(int fd, Channel **found, bool check)
{
	Channel *c = nullptr;
	int error = join_with_credit(fd, one_event, &c);
	if (error != 0)
		return error;
	if (check && !still_open(c)) {
		return_credit(c);
		return EBADF;
	}
	*found = c;
	return 0;
}

bool admit_another(Channel *c)
{
	uint64_t life = c->life.load(mo::relaxed);
	do {
		if (is_full(c, life)) {
			// seq_cst: either the reader that returns one sees this, or the second look
			// sees it.
			c->credit_waiters.store(true, mo::seq_cst);
			life = c->life.load(mo::seq_cst);
			if (is_full(c, life))
				return false;
		}
	} while (!c->life.compare_exchange_weak(life, life + one_event, mo::acq_rel));
	note_admitted(c, 1);
	note_high_water(c, admitted(life) + 1);
	return true;
}

void add_credit(Channel *c)
{
	c->life.fetch_add(one_event, mo::relaxed);
	note_admitted(c, 1);
}

void return_credit(Channel *c)
{
	drop(c, one_event);
}

} // namespace sigevec::channel
