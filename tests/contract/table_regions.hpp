// SPDX-License-Identifier: MIT
//
// The forms of a receive into a region: sio_recv and its like, requests with AIO_DMA_BUF on a
// socket that is associated and on one that is not, in lists, and as one-call requests. Include it
// after table.hpp.
#ifndef CONTRACT_TABLE_REGIONS_HPP
#define CONTRACT_TABLE_REGIONS_HPP

namespace contract {

constexpr size_t table_region_size = 65536;

/// A receive into a region, which has the socket for as long as the call. What lands in the piece
/// is copied to where the judge's call has it, and the piece is given back.
class RegionForm : public Form {
public:
	enum Way { synchronous, associated, unassociated };
	RegionForm(Way way, Kind kind) : Form(kind), way_(way)
	{
		BOOST_TEST_REQUIRE(dma_alloc(&region_, table_region_size, 0) == 0);
	}

	std::string name() const override
	{
		return way_ == synchronous  ? "sio"
		       : way_ == associated ? "region " + Form::name()
					    : "unassociated region " + Form::name();
	}
	bool is_basic() const override { return way_ != unassociated && Form::is_basic(); }
	bool is_synchronous() const override { return way_ == synchronous; }
	bool takes(const Op &op) const override
	{
		if (kind() == list) // LIO_DMA_READ
			return op.type == Op::recv && op.flags == 0;
		if (way_ != associated)
			return way_ == synchronous || Form::takes(op);
		// A piece cannot satisfy them: EOPNOTSUPP at the call.
		if ((op.flags & (MSG_PEEK | MSG_WAITALL | MSG_OOB | MSG_ERRQUEUE)) != 0)
			return false;
		// Messages of one-call requests are as long as they are.
		return Form::takes(op) && !(is_one_call() && op.is_message() && op.size < 100);
	}

	void start(Pending &p) override
	{
		if (way_ != unassociated &&
		    dma_assoc(p.call.fd, region_, table_region_size, 0) != 0) {
			p.refused = errno;
			return;
		}
		lost_ = false;
		if (p.call.op.is_message())
			p.call.message = {};
		if (way_ == synchronous)
			return hand_.begin([this, &p] { receive(p); });
		p.cb.aio_fildes = p.call.fd;
		p.cb.aio_dma_buf = region_;
		p.cb.aio_nbytes = p.call.op.size;
		notify(p);
		note_refusal(p, is_one_call()    ? by_one_call(p)
				: kind() == list ? by_list(p)
						 : by_block(p));
	}
	bool ended(Pending &p) override
	{
		return way_ == synchronous ? p.refused != 0 || hand_.done() : Form::ended(p);
	}
	Outcome outcome_of(Pending &p) const override
	{
		// What a signal has interrupted is what the judge calls cancelled.
		if (way_ == synchronous)
			return p.told.error == EINTR ? Outcome{ECANCELED, -1} : p.told;
		return Form::outcome_of(p);
	}
	std::string told(Pending &p) override
	{
		if (p.refused == 0)
			take(p);
		return Form::told(p);
	}
	bool cancel(Pending &p, std::string &answer) override
	{
		if (way_ != synchronous)
			return Form::cancel(p, answer);
		if (p.refused == 0)
			hand_.interrupt();
		return true;
	}
	bool can_lose() const override { return way_ != unassociated; }
	void lose(Pending &p) override
	{
		if (way_ == synchronous)
			hand_.waits();
		if (way_ != unassociated && p.refused == 0)
			BOOST_TEST(dma_disassoc(p.call.fd, region_, table_region_size) == 0);
		lost_ = true;
	}
	void leave(Pending &p) override
	{
		if (!lost_)
			lose(p);
		struct dma_stat s {};
		BOOST_TEST(eventually([&] {
			return dma_stat(region_, &s) == 0 && s.used == 0 && s.requests == 0;
		}));
	}

private:
	void receive(Pending &p)
	{
		Call &c = p.call;
		const void *piece = nullptr;
		errno = 0;
		const int n = c.op.type == Op::recv ? sio_recv(c.fd, const_cast<void **>(&piece),
							       c.op.size, c.op.flags)
			      : c.op.type == Op::recvfrom
				      ? sio_recvfrom(c.fd, &piece, c.op.size, c.op.flags, c.where(),
						     c.name_length)
				      : sio_recvmsg(c.fd, &piece, c.op.size, c.op.flags);
		p.told = {n < 0 ? errno : 0, n};
		p.cb.aio_buf = const_cast<void *>(piece);
	}
	int by_block(Pending &p)
	{
		Call &c = p.call;
		const int flags = c.op.flags | AIO_DMA_BUF;
		return c.op.type == Op::recv ? aio_recv(&p.cb, flags)
		       : c.op.type == Op::recvfrom
			       ? aio_recvfrom(&p.cb, flags, c.where(), c.name_length)
			       : aio_recvmsg(&p.cb, flags);
	}
	int by_list(Pending &p)
	{
		p.cb.aio_lio_opcode = LIO_DMA_READ;
		aiocb *const one[] = {&p.cb};
		return lio_listio(LIO_NOWAIT, one, 1, nullptr);
	}
	int by_one_call(Pending &p)
	{
		Call &c = p.call;
		const int flags = c.op.flags | AIO_DMA_BUF;
		return c.op.type == Op::recv
			       ? ev_recv(c.fd, nullptr, c.op.size, flags, channel(), &p)
		       : c.op.type == Op::recvfrom
			       ? ev_recvfrom(c.fd, nullptr, c.op.size, flags, c.where(),
					     c.name_length, channel(), &p)
			       : ev_recvmsg(c.fd, nullptr, flags, channel(), &p);
	}
	/// The piece into the memory and the message of the call.
	void take(Pending &p)
	{
		const bool by_event = is_one_call();
		void *const piece =
			!by_event ? const_cast<void *>(std::exchange(p.cb.aio_buf, nullptr))
			: p.event.ev_type == event_type_dma
				? std::exchange(p.event.ev_un.ev_dma.buf, nullptr)
				: nullptr;
		if (piece == nullptr)
			return;
		const ssize_t n = by_event || is_synchronous() ? p.told.result : aio_return(&p.cb);
		auto *payload = static_cast<const char *>(piece);
		if (p.call.op.is_message())
			payload = take_message(p.call, *static_cast<const msghdr *>(piece));
		memcpy(p.call.memory.start(), payload,
		       std::min(size_t(n), p.call.memory.text().size()));
		BOOST_TEST(sio_release(region_, piece, size_t(n)) == 0);
	}
	static const char *take_message(Call &c, const msghdr &m)
	{
		c.message = m;
		if (m.msg_name != nullptr)
			memcpy(&c.name, m.msg_name, std::min<size_t>(m.msg_namelen, sizeof c.name));
		c.message.msg_control = c.control;
		if (m.msg_control != nullptr)
			memcpy(c.control, m.msg_control,
			       std::min<size_t>(m.msg_controllen, sizeof c.control));
		return m.msg_iovlen == 1 ? static_cast<const char *>(m.msg_iov->iov_base) : nullptr;
	}

	Way way_;
	bool lost_ = false;
	dma_mem_t region_{};
	Hand hand_;
};

inline std::vector<std::unique_ptr<Form>> forms_of_regions()
{
	std::vector<std::unique_ptr<Form>> forms;
	forms.push_back(std::make_unique<RegionForm>(RegionForm::synchronous, Form::block));
	for (Form::Kind kind : Form::kinds)
		forms.push_back(std::make_unique<RegionForm>(RegionForm::associated, kind));
	for (Form::Kind kind : {Form::block, Form::block_event})
		forms.push_back(std::make_unique<RegionForm>(RegionForm::unassociated, kind));
	return forms;
}
/// sio_recv and its like alone, which heed the time limits of the socket.
inline std::vector<std::unique_ptr<Form>> synchronous_form()
{
	std::vector<std::unique_ptr<Form>> forms;
	forms.push_back(std::make_unique<RegionForm>(RegionForm::synchronous, Form::block));
	return forms;
}

} // namespace contract

#endif
