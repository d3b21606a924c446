// SPDX-License-Identifier: MIT
//
// The one side of the pair whose sides are killed (fabric_kills.cpp): a process that puts numbers
// into its neighbour's memory, sends each of them, answers the neighbour's, and writes down all
// that it sees. What it has written down outlives it.
//
// Include it once, after fabric.hpp.
#ifndef CONTRACT_FABRIC_KILLS_HPP
#define CONTRACT_FABRIC_KILLS_HPP

#include "fabric.hpp"

#include <memory>

namespace contract::kills {

constexpr unsigned window = 6;   // messages that a side has sent and that are not answered
constexpr unsigned writers = 64; // lives that write at the same time, at most
constexpr unsigned places = 16;  // of each of them

/// What a side is told: who its neighbour is now.
struct Order {
	uint32_t life; // 1, 2 and so on, of both sides
	bool same_name;
	Card card;
};

/// What a side writes down. `lost': something has failed.
struct Record {
	enum What : uint32_t { received, answered, lost } what;
	uint32_t from, to, epoch;
	uint64_t number; // or the errno
};

struct Message {
	enum What : uint32_t { number, answer } what;
	uint32_t from, to, epoch;
	uint64_t value;
};

/// What stands behind the number: small messages are copied by the library, large ones are not.
inline size_t size_of(uint64_t value)
{
	return sizeof(Message) + value * 131 % 3000;
}
inline unsigned char byte_of(uint64_t value, uint32_t from)
{
	return static_cast<unsigned char>(value * 7 + from);
}
inline bool intact(const Message &m, size_t size)
{
	const auto *p = reinterpret_cast<const unsigned char *>(&m + 1);
	return size == (m.what == Message::answer ? sizeof m : size_of(m.value)) &&
	       std::all_of(p, reinterpret_cast<const unsigned char *>(&m) + size,
			   [&](unsigned char c) { return c == byte_of(m.value, m.from); });
}

/// Exits with the line where something was not as it has to be.
[[noreturn]] inline void wrong(int line)
{
	dprintf(2, "a side: line %d: %s\n", line, strerror(errno));
	_exit(10);
}
#define SIDE_REQUIRE(...)                                                                          \
	do                                                                                         \
		if (!(__VA_ARGS__))                                                                \
			wrong(__LINE__);                                                           \
	while (0)

class Side {
public:
	Side(uint32_t life, const char *service) : life_(life)
	{
		SIDE_REQUIRE((ec_ = ec_create(EC_CLOEXEC)) >= 0);
		fd_ = fabric_open(provider(), node(), service, FABRIC_CLOEXEC);
		SIDE_REQUIRE(fd_ >= 0);
		SIDE_REQUIRE(dma_alloc(&mem_, region_size, 0) == 0);
		SIDE_REQUIRE(dma_assoc(fd_, mem_, region_size, 0) == 0);
		Card card;
		SIDE_REQUIRE(fabric_name(fd_, reinterpret_cast<sockaddr *>(&card.name),
					 &card.length) == 0);
		written_ = static_cast<uint64_t *>(piece(bytes_written));
		memset(written_, 0, bytes_written);
		SIDE_REQUIRE(dma_export(mem_, fd_, written_, bytes_written, DMA_READ | DMA_WRITE,
					&card.key) == 0);
		SIDE_REQUIRE(ev_recv(fd_, nullptr, longest, AIO_DMA_BUF | EV_MULTISHOT, ec_,
				     &receiving_) == 0);
		write_all(1, &card, sizeof card);
		listen();
	}
	[[noreturn]] void run()
	{
		for (event_data_t event{};;) {
			SIDE_REQUIRE(ec_next_event(ec_, &event) == 0);
			if (event.ev_data == &receiving_)
				arrived(event);
			else if (event.ev_data == &order_)
				told(event);
			else
				ended(static_cast<Work *>(event.ev_data), event);
			go_on();
		}
	}

private:
	static constexpr size_t bytes_written = sizeof(uint64_t) * writers * places;

	/// Something under way.
	struct Work {
		enum What { put, send, answer, get } what;
		uint32_t to, epoch;
		uint64_t value;
		void *piece;
		size_t size;
	};

	void *piece(size_t size) const
	{
		void *p = nullptr;
		SIDE_REQUIRE(sio_reserve(mem_, &p, size) == 0);
		return p;
	}
	Work *make(Work::What what, uint64_t value, size_t size) const
	{
		return new Work{what, neighbour_.life, epoch_, value, piece(size), size};
	}
	void listen() { SIDE_REQUIRE(ev_poll(0, POLLIN, ec_, &order_) == 0); }
	void note(Record::What what, uint32_t from, uint32_t to, uint32_t epoch, uint64_t number)
	{
		const Record r{what, from, to, epoch, number};
		write_all(1, &r, sizeof r);
	}
	size_t place_of(uint32_t from, uint64_t value) const
	{
		return from % writers * places + value % places;
	}
	static uint64_t mark(uint32_t epoch, uint64_t value)
	{
		return uint64_t{epoch} << 48 | value;
	}

	void told(const event_data_t &event)
	{
		SIDE_REQUIRE(event.ev_result > 0);
		SIDE_REQUIRE(read(0, &order_, sizeof order_) == ssize_t(sizeof order_));
		neighbour_ = order_;
		begin();
		std::vector<Message> early;
		early.swap(early_);
		for (const Message &m : early)
			answer(m);
		listen();
	}
	void begin()
	{
		++epoch_;
		next_ = answered_ = 0;
		works_ = true;
	}

	void arrived(const event_data_t &event)
	{
		SIDE_REQUIRE(event.ev_result >= ssize_t(sizeof(Message)));
		const auto size = size_t(event.ev_result);
		const auto &m = *static_cast<const Message *>(event.ev_un.ev_dma.buf);
		SIDE_REQUIRE(intact(m, size));
		// Of one who takes this process for who had its name before it.
		if (m.to == life_ && m.what == Message::number) {
			SIDE_REQUIRE(written_[place_of(m.from, m.value)] == mark(m.epoch, m.value));
			note(Record::received, m.from, life_, m.epoch, m.value);
			answer(m);
		} else if (m.to == life_ && m.from == neighbour_.life && m.epoch == epoch_) {
			SIDE_REQUIRE(m.value == answered_ + 1);
			answered_ = m.value;
			note(Record::answered, life_, m.from, m.epoch, m.value);
			if (m.value % 4 == 0)
				look(m.value);
		}
		SIDE_REQUIRE(sio_release(mem_, event.ev_un.ev_dma.buf, size) == 0);
	}
	void answer(const Message &m)
	{
		if (m.from > neighbour_.life)
			early_.push_back(m);
		if (m.from == neighbour_.life)
			send(Work::answer, m.value,
			     {Message::answer, life_, m.from, m.epoch, m.value}, sizeof m);
	}
	void send(Work::What what, uint64_t value, const Message &m, size_t size)
	{
		Work *const w = make(what, value, size);
		memcpy(w->piece, &m, sizeof m);
		memset(static_cast<char *>(w->piece) + sizeof m, byte_of(value, life_),
		       size - sizeof m);
		SIDE_REQUIRE(ev_sendto(fd_, w->piece, size, AIO_DMA_BUF, neighbour_.card.get(),
				       neighbour_.card.length, ec_, w) == 0);
	}
	/// Whether what was put and is over stands there.
	void look(uint64_t value)
	{
		Work *const w = make(Work::get, value, sizeof(uint64_t));
		SIDE_REQUIRE(ev_get(fd_, neighbour_.card.get(), neighbour_.card.length,
				    &neighbour_.card.key, place_of(life_, value) * sizeof(uint64_t),
				    w->piece, w->size, ec_, w) == 0);
	}
	void go_on()
	{
		while (works_ && neighbour_.life != 0 && next_ - answered_ < window) {
			Work *const w = make(Work::put, ++next_, sizeof(uint64_t));
			const uint64_t text = mark(epoch_, next_);
			memcpy(w->piece, &text, sizeof text);
			SIDE_REQUIRE(ev_put(fd_, neighbour_.card.get(), neighbour_.card.length,
					    &neighbour_.card.key,
					    place_of(life_, next_) * sizeof text, w->piece,
					    sizeof text, ec_, w) == 0);
		}
	}
	void ended(Work *raw, const event_data_t &event)
	{
		const std::unique_ptr<Work> w(raw);
		const bool current = w->to == neighbour_.life && w->epoch == epoch_ && works_;
		if (event.ev_result < 0) {
			SIDE_REQUIRE(event.ev_errno == ECONNRESET || event.ev_errno == ETIMEDOUT ||
				     event.ev_errno == ECONNREFUSED ||
				     event.ev_errno == EHOSTUNREACH || event.ev_errno == EACCES);
			if (current) {
				note(Record::lost, life_, w->to, epoch_, uint64_t(event.ev_errno));
				works_ = false;
				// Who has a name that another had may be taken for that one at
				// first.
				if (neighbour_.same_name)
					begin();
			}
		} else {
			SIDE_REQUIRE(event.ev_result == ssize_t(w->size));
			if (w->what == Work::put && current)
				send(Work::send, w->value,
				     {Message::number, life_, w->to, epoch_, w->value},
				     size_of(w->value));
			if (w->what == Work::get && current) {
				uint64_t text;
				memcpy(&text, w->piece, sizeof text);
				SIDE_REQUIRE(text >= mark(epoch_, w->value) &&
					     text % places == w->value % places);
			}
		}
		SIDE_REQUIRE(sio_release(mem_, w->piece, w->size) == 0);
	}

	const uint32_t life_;
	ec_t ec_ = -1;
	int fd_ = -1;
	dma_mem_t mem_{};
	uint64_t *written_ = nullptr;
	char receiving_ = 0;
	Order order_{}, neighbour_{};
	uint32_t epoch_ = 0;
	uint64_t next_ = 0, answered_ = 0;
	bool works_ = false;
	std::vector<Message> early_; // of a neighbour that this side has not been told of yet
};

} // namespace contract::kills

#endif
