// SPDX-License-Identifier: MIT
//
// The forms in which the library takes a call: with an aiocb and each way of being told, in a list,
// and as a one-call request of each kind of channel. A part of table.hpp.
#ifndef CONTRACT_TABLE_FORMS_HPP
#define CONTRACT_TABLE_FORMS_HPP

namespace contract {

/// How long a request may stay behind the call made by hand before it counts as never ending.
#ifndef CONTRACT_PATIENCE_MS
#define CONTRACT_PATIENCE_MS 8000
#endif
inline std::chrono::milliseconds const patience{CONTRACT_PATIENCE_MS * slowness};
/// Where it is known not to end, less will do.
inline std::chrono::milliseconds const patience_when_known{30 * slowness};

/// A call that the library carries out.
struct Pending {
	Call call;
	aiocb cb{};
	int refused = 0; // errno of the submission
	unsigned events = 0;
	Outcome told{};
	event_data_t event{}; // the last
	explicit Pending(const Op &op, int fd, const sockaddr_storage &to, socklen_t length)
	    : call(op, fd, to, length)
	{
	}
};

class Form {
public:
	enum Kind {
		block,
		block_event,
		block_event_single,
		list,
		one_call,
		one_call_single,
		one_call_batch
	};
	static constexpr Kind kinds[] = {block,    block_event,     block_event_single, list,
					 one_call, one_call_single, one_call_batch};

	explicit Form(Kind kind) : kind_(kind) { renew(); }
	Form(const Form &) = delete;
	virtual ~Form() = default;

	virtual std::string name() const
	{
		static constexpr const char *names[] = {
			"aio",          "aio+SIGEV_EC", "aio+SIGEV_EC,EC_SINGLE", "lio", "ev",
			"ev EC_SINGLE", "ev EC_BATCH"};
		return names[kind_];
	}
	virtual bool is_basic() const
	{
		return kind_ == block || kind_ == one_call || kind_ == one_call_single;
	}
	/// Of those that are not.
	unsigned number() const { return kind_ == one_call_batch ? 3 : unsigned(kind_) - 1; }
	bool is_one_call() const { return kind_ >= one_call; }
	virtual bool tells_by_event() const { return kind_ != block && kind_ != list; }
	/// It is no request: O_NONBLOCK and the time limits of the socket's own count.
	virtual bool is_synchronous() const { return false; }
	/// The channel, fresh: what was left in the old one is over.
	void renew()
	{
		if (ec_ >= 0)
			ec_destroy(ec_);
		ec_ = ec_create(EC_CLOEXEC | flags());
	}
	int destroy() { return ec_destroy(std::exchange(ec_, -1)); }

	virtual bool takes(const Op &op) const
	{
		if (kind_ == list)
			return op.type == Op::read || op.type == Op::write ||
			       (op.flags == 0 &&
				(op.type == Op::recv || op.type == Op::send || op.is_message()));
		if (is_one_call())
			return op.of_sockets();
		return op.type != Op::poll;
	}

	virtual void start(Pending &p)
	{
		p.cb.aio_fildes = p.call.fd;
		p.cb.aio_buf = p.call.memory.start();
		p.cb.aio_nbytes = p.call.op.size;
		p.cb.aio_offset = p.call.op.offset;
		if (p.call.op.is_vector()) {
			p.cb.aio_iov = p.call.parts;
			p.cb.aio_iovcnt = 2;
		}
		if (p.call.op.is_message())
			p.cb.aio_msg = &p.call.message;
		notify(p);
		note_refusal(p, is_one_call()   ? by_one_call(p)
				: kind_ == list ? by_list(p)
						: by_block(p));
	}
	/// Before what is left is looked at; also of what has not ended.
	virtual void leave(Pending &) {}
	/// That by which it receives can be taken away from it while it waits.
	virtual bool can_lose() const { return false; }
	virtual void lose(Pending &) {}

	/// The status, and for forms that tell by an event, also whether the event has come.
	virtual bool ended(Pending &p)
	{
		if (p.refused != 0)
			return true;
		while (collect(at_once)) {
		}
		return is_one_call() ? p.events > 0 : aio_error(&p.cb) != EINPROGRESS;
	}
	bool finish(Pending &p, std::chrono::milliseconds limit)
	{
		const auto end = std::chrono::steady_clock::now() + limit;
		for (unsigned spins = 0; !ended(p); ++spins) {
			if (std::chrono::steady_clock::now() > end)
				return false;
			pause(spins);
		}
		while (tells_by_event() && ec_ >= 0 && p.refused == 0 && p.events == 0)
			if (std::chrono::steady_clock::now() > end || !collect({1, 0}))
				break;
		return true;
	}
	/// What a program's loop does while others work.
	void pump()
	{
		if (!collect({0, 200000}) && (!tells_by_event() || ec_ < 0))
			usleep(50);
	}
	virtual Outcome outcome_of(Pending &p) const
	{
		if (is_one_call())
			return p.told;
		const int error = aio_error(&p.cb);
		return {error, aio_return(&p.cb)};
	}
	virtual std::string told(Pending &p)
	{
		if (p.refused != 0)
			return "refused with " + error_name(p.refused);
		const Outcome end = outcome_of(p);
		return p.call.told(end) + event_told(p, end);
	}
	virtual bool cancel(Pending &p, std::string &answer)
	{
		if (is_one_call()) {
			answer = ev_cancel(ec_, &p) == 0 ? "" : "ev_cancel: " + error_name(errno);
			return answer.empty();
		}
		const int said = aio_cancel(p.call.fd, &p.cb);
		answer = said == AIO_CANCELED      ? ""
			 : said == AIO_NOTCANCELED ? "AIO_NOTCANCELED"
			 : said == AIO_ALLDONE     ? "AIO_ALLDONE"
						   : error_name(errno);
		if (said == AIO_CANCELED && aio_error(&p.cb) != ECANCELED)
			answer = "AIO_CANCELED, but " + error_name(aio_error(&p.cb));
		return said == AIO_CANCELED;
	}

protected:
	Kind kind() const { return kind_; }
	ec_t channel() const { return ec_; }
	void notify(Pending &p)
	{
		p.cb.aio_sigevent.sigev_notify = SIGEV_NONE;
		if (tells_by_event())
			p.cb.aio_sigevent = channel_event(ec_, &p);
		errno = 0;
	}
	void note_refusal(Pending &p, int result)
	{
		if (result != 0)
			p.refused = errno != 0 ? errno : -1;
		if (is_one_call() && kind_ == one_call_batch)
			ec_submit(ec_);
	}

private:
	unsigned flags() const
	{
		if (kind_ == one_call_batch)
			return EC_SINGLE | EC_BATCH;
		return kind_ == one_call_single || kind_ == block_event_single ? EC_SINGLE : 0;
	}
	void pause(unsigned spins)
	{
		if (tells_by_event() && ec_ >= 0)
			collect({0, 1000000});
		else if (spins < 20)
			sched_yield();
		else
			usleep(spins < 200 ? 50 : 500);
	}
	bool collect(const timespec &limit)
	{
		if (!tells_by_event() || ec_ < 0)
			return false;
		event_data_t event{};
		if (take_events(ec_, &event, 1, limit) != 1)
			return false;
		auto &p = *static_cast<Pending *>(event.ev_data);
		++p.events;
		p.told = outcome(event);
		p.event = event;
		return true;
	}
	std::string event_told(Pending &p, const Outcome &end) const
	{
		if (!tells_by_event())
			return "";
		if (p.events != 1)
			return " and " + std::to_string(p.events) + " events";
		return p.told == end ? ""
				     : " but the event says " + error_name(p.told.error) + " " +
					       std::to_string(p.told.result);
	}

	int by_block(Pending &p)
	{
		Call &c = p.call;
		switch (c.op.type) {
		case Op::read:
			return aio_read(&p.cb);
		case Op::write:
			return aio_write(&p.cb);
		case Op::readv:
			return aio_readv(&p.cb);
		case Op::writev:
			return aio_writev(&p.cb);
		case Op::fsync:
			return aio_fsync(O_SYNC, &p.cb);
		case Op::fdsync:
			return aio_fsync(O_DSYNC, &p.cb);
		case Op::recv:
			return aio_recv(&p.cb, c.op.flags);
		case Op::send:
			return aio_send(&p.cb, c.op.flags);
		case Op::recvfrom:
			return aio_recvfrom(&p.cb, c.op.flags, c.where(), c.name_length);
		case Op::sendto:
			return aio_sendto(&p.cb, c.op.flags,
					  c.name_length != 0 ? c.where() : nullptr, c.name_length);
		case Op::recvmsg:
			return aio_recvmsg(&p.cb, c.op.flags);
		case Op::sendmsg:
			return aio_sendmsg(&p.cb, c.op.flags);
		case Op::accept:
			return aio_accept(&p.cb, c.op.flags);
		case Op::connect:
			return aio_connect(&p.cb, c.where(), c.name_length);
		case Op::poll:
			break;
		}
		abort();
	}
	int by_list(Pending &p)
	{
		switch (p.call.op.type) {
		case Op::read:
			p.cb.aio_lio_opcode = LIO_READ;
			break;
		case Op::write:
			p.cb.aio_lio_opcode = LIO_WRITE;
			break;
		case Op::recv:
			p.cb.aio_lio_opcode = LIO_RECV;
			break;
		case Op::send:
			p.cb.aio_lio_opcode = LIO_SEND;
			break;
		case Op::recvmsg:
			p.cb.aio_lio_opcode = LIO_RECVMSG;
			break;
		default:
			p.cb.aio_lio_opcode = LIO_SENDMSG;
		}
		aiocb *const one[] = {&p.cb};
		return lio_listio(LIO_NOWAIT, one, 1, nullptr);
	}
	int by_one_call(Pending &p)
	{
		Call &c = p.call;
		char *const at = c.memory.start();
		const int flags = c.op.flags;
		switch (c.op.type) {
		case Op::recv:
			return ev_recv(c.fd, at, c.op.size, flags, ec_, &p);
		case Op::send:
			return ev_send(c.fd, at, c.op.size, flags, ec_, &p);
		case Op::recvfrom:
			return ev_recvfrom(c.fd, at, c.op.size, flags, c.where(), c.name_length,
					   ec_, &p);
		case Op::sendto:
			return ev_sendto(c.fd, at, c.op.size, flags,
					 c.name_length != 0 ? c.where() : nullptr, c.name_length,
					 ec_, &p);
		case Op::recvmsg:
			return ev_recvmsg(c.fd, &c.message, flags, ec_, &p);
		case Op::sendmsg:
			return ev_sendmsg(c.fd, &c.message, flags, ec_, &p);
		case Op::accept:
			return ev_accept(c.fd, flags, ec_, &p);
		case Op::connect:
			return ev_connect(c.fd, c.where(), c.name_length, ec_, &p);
		case Op::poll:
			return ev_poll(c.fd, c.op.events, ec_, &p);
		default:
			abort();
		}
	}

	Kind kind_;
	ec_t ec_ = -1;
};

} // namespace contract

#endif
