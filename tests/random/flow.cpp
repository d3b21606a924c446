// SPDX-License-Identifier: MIT
#include "flow.hpp"

#include "report.hpp"

#include <algorithm>
#include <cerrno>
#include <numeric>

namespace calls {

namespace {

/// As much, in as many pieces, there is room for in every stream.
constexpr size_t surely_fits = 4096, surely_fits_pty = 1024;
constexpr size_t pieces_fit = 40, datagrams_fit = 8;
constexpr size_t pipe_capacity = 65536;

} // namespace

size_t Flow::pending(size_t from) const
{
	size_t sum = 0;
	for (size_t i = from; i < writes.size(); ++i)
		sum += writes[i]->place.size;
	return sum;
}

size_t Flow::until(const Request &r) const
{
	const auto at = std::find(writes.begin(), writes.end(), &r);
	const size_t later = pending(size_t(at - writes.begin()) + 1);
	return unread_.size() > later ? unread_.size() - later : 0;
}

size_t Flow::piece() const
{
	return messages() && !pieces_.empty() ? pieces_.front() : unread_.size();
}

bool Flow::would_fit(size_t bytes) const
{
	const bool pty = sort_ == Sort::pty;
	return unread_.size() + bytes <= (pty ? surely_fits_pty : surely_fits) &&
	       pieces_.size() + 1 <= (sort_ == Sort::datagrams ? datagrams_fit : pieces_fit);
}

size_t Flow::surely_there() const
{
	if (messages())
		return reads.size() + writes.size() < pieces_.size() ? pieces_[reads.size()] : 0;
	size_t taken = pending();
	for (const Request *const earlier : reads)
		taken += earlier->place.size;
	return unread_.size() > taken ? unread_.size() - taken : 0;
}

/// What a read gets at least: all that was there when it was made and that no earlier one can take.
/// On its way through a terminal or TCP it may come in parts.
void Flow::admit(Request &r)
{
	const bool in_parts = sort_ == Sort::tcp || sort_ == Sort::pty;
	if (r.reads()) {
		r.sure = std::min(r.place.size, surely_there());
		if (in_parts)
			r.sure = 0;
		reads.push_back(&r);
		return;
	}
	if (!anything() && !reads.empty() && !reads.front()->file->nonblocking && !in_parts &&
	    r.place.size <= surely_fits)
		reads.front()->sure = std::min(reads.front()->place.size, r.place.size);
	unread_ += r.payload();
	if (r.place.size != 0 || messages())
		pieces_.push_back(r.place.size);
	writes.push_back(&r);
}

void Flow::consume(size_t bytes)
{
	if (messages()) {
		unread_.erase(0, pieces_.front());
		pieces_.pop_front();
		return;
	}
	unread_.erase(0, bytes);
	for (; bytes != 0 && pieces_.front() <= bytes; pieces_.pop_front())
		bytes -= pieces_.front();
	if (bytes != 0)
		pieces_.front() -= bytes;
}

void Flow::take(const std::string &data)
{
	const size_t most = piece();
	if (data.size() > most || unread_.compare(0, data.size(), data) != 0)
		fault("recv gives other data than was written");
	if (messages() && data.size() != most)
		fault("recv gives a part of a message");
	consume(data.size());
}

void Flow::judge_read(Request &r, bool canceled, bool over)
{
	reads.erase(std::find(reads.begin(), reads.end(), &r));
	const size_t n = r.place.size, got = size_t(r.result);
	if (canceled || (n == 0 && r.error == 0 && r.result == 0))
		return;
	if (r.file->nonblocking && r.error == EAGAIN && r.sure == 0)
		return;
	if (r.error != 0 || r.result < 0 || got > n)
		wrong(r, "no read ends like that");
	if (!anything()) {
		if (got != 0 || !over)
			wrong(r, "there is nothing to read");
		return;
	}
	if (got < r.sure || got > piece() || (got == 0 && piece() != 0))
		wrong(r, "not what is there");
	if (messages() && got != std::min(n, piece()))
		wrong(r, "not one message");
	if (unread_.compare(0, got, r.data()) != 0)
		wrong(r, "other data than was written");
	consume(got);
}

/// Of a write that was canceled nothing is read, and what waited for it may get less.
void Flow::forget_write(const Request &r)
{
	for (Request *const read : reads)
		read->sure = 0;
	const size_t mine = until(r), size = r.place.size;
	if (mine < size)
		wrong(r, "canceled, but it was read");
	const size_t later = size_t(std::find(writes.begin(), writes.end(), &r) - writes.begin());
	size_t behind = 0;
	for (size_t i = later + 1; i < writes.size(); ++i)
		behind += writes[i]->place.size != 0 || messages();
	unread_.erase(mine - size, size);
	if (size != 0 || messages())
		pieces_.erase(pieces_.end() - ptrdiff_t(behind) - 1);
}

void Flow::judge_write(Request &r, bool canceled)
{
	const size_t inside = until(r);
	if (r.broken) {
		unread_.clear();
		pieces_.clear();
	} else if (canceled)
		forget_write(r);
	writes.erase(std::find(writes.begin(), writes.end(), &r));
	if (canceled || (r.broken && r.error == EPIPE && r.result == -1))
		return;
	if (r.broken || r.error != 0 || r.result != ssize_t(r.place.size))
		wrong(r, "a write is whole");
	if (sort_ <= Sort::fifo && r.place.size != 0 && reads.empty() && inside > pipe_capacity)
		wrong(r, "there is no room for so much");
}

/// A transfer of nothing on a pipe does not wait for its turn, but with glibc.
bool Flow::is_nothing(const Request &r) const
{
	return r.place.size == 0 && sort_ <= Sort::fifo && !is_glibc();
}

bool Flow::read_must_end(const Request &r, bool over) const
{
	size_t before = 0, index = 0;
	for (; reads[index] != &r; ++index)
		before += reads[index]->place.size;
	const bool turn_of_nothing = index == 0 && r.place.size == 0;
	if (r.file->nonblocking || (over && writes.empty()) || is_nothing(r) || turn_of_nothing)
		return true;
	return messages() ? index < pieces_.size() : before < unread_.size();
}

bool Flow::write_must_end(const Request &r) const
{
	if (r.broken || is_nothing(r))
		return true;
	const size_t fits = sort_ == Sort::pty ? surely_fits_pty : surely_fits;
	return until(r) <= fits &&
	       pieces_.size() <= (sort_ == Sort::datagrams ? datagrams_fit : pieces_fit);
}

bool Flow::read_cannot_end(const Request &r, bool over) const
{
	return r.place.size != 0 && !anything() && !over && !r.file->nonblocking;
}

bool Flow::write_cannot_end(const Request &r) const
{
	return sort_ <= Sort::fifo && r.place.size != 0 && !r.broken && reads.empty() &&
	       until(r) > pipe_capacity;
}

} // namespace calls
