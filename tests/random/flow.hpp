// SPDX-License-Identifier: MIT
//
// One direction of a stream: what has been written and not read, and who waits.
#ifndef RANDOM_FLOW_HPP
#define RANDOM_FLOW_HPP

#include "model.hpp"

#include <deque>
#include <string>

namespace calls {

enum class Sort : unsigned { pipe, fifo, unix_stream, tcp, pty, seqpacket, datagrams };
inline constexpr unsigned sorts = unsigned(Sort::datagrams) + 1;

class Flow {
public:
	explicit Flow(Sort sort) : sort_(sort) {}

	void admit(Request &r);
	/// Takes a request that has ended, the first of its queue, out of it, and judges it.
	/// over: nobody can write any more.
	void judge_read(Request &r, bool canceled, bool over);
	void judge_write(Request &r, bool canceled);

	/// In no order with what waits.
	bool is_nothing(const Request &r) const;
	bool read_must_end(const Request &r, bool over) const;
	bool write_must_end(const Request &r) const;
	bool read_cannot_end(const Request &r, bool over) const;
	bool write_cannot_end(const Request &r) const;

	/// A read by system call.
	void take(const std::string &data);

	bool idle() const { return unread_.empty() && writes.empty() && pieces_.empty(); }
	/// Is there room for a write of that size, whoever reads?
	bool would_fit(size_t bytes) const;
	bool anything() const { return messages() ? !pieces_.empty() : !unread_.empty(); }

	std::deque<Request *> reads, writes; // in the order of the calls

private:
	bool messages() const { return sort_ == Sort::seqpacket || sort_ == Sort::datagrams; }
	size_t pending(size_t from = 0) const; // bytes of the writes from that one on
	size_t until(const Request &r) const;  // bytes that are unread when this write is whole
	size_t surely_there() const;           // for one more read
	size_t piece() const;                  // what the next read can get
	void consume(size_t bytes);
	void forget_write(const Request &r);

	Sort sort_;
	std::string unread_;        // of all writes, also of those that are under way
	std::deque<size_t> pieces_; // how it was written; of a byte stream, what is left of it
};

} // namespace calls

#endif
