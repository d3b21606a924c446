// SPDX-License-Identifier: MIT
//
// Processes that share a region: what one of them writes where it should not, or leaves behind
// when it dies, costs the others nothing. And memory that the program has placed itself.
#define BOOST_TEST_MODULE dma_shared
#include "dma.hpp"

#include <algorithm>
#include <random>
#include <sys/epoll.h>
#include <sys/mman.h>

namespace {

/// The memory that the library shares with children, but for the region itself.
std::vector<std::pair<uint64_t *, uint64_t *>> shared_bookkeeping(const void *region)
{
	std::vector<std::pair<uint64_t *, uint64_t *>> found;
	FILE *const maps = fopen("/proc/self/maps", "r");
	char line[512];
	while (maps != nullptr && fgets(line, sizeof line, maps) != nullptr) {
		unsigned long from, to;
		char rights[8];
		if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) != 3 ||
		    strcmp(rights, "rw-s") != 0)
			continue;
		const auto at = reinterpret_cast<uintptr_t>(region);
		if (strstr(line, "zero") != nullptr && (at < from || at >= to))
			found.emplace_back(reinterpret_cast<uint64_t *>(from),
					   reinterpret_cast<uint64_t *>(to));
	}
	if (maps != nullptr)
		fclose(maps);
	return found;
}

size_t constexpr size = 256 * 1024;

/// Everything that can be done with pieces, whatever the answers are: what is given out lies in the
/// region.
void use_everything(const Region &region, const char *base, const Pair &s, std::mt19937 &random)
{
	std::vector<std::pair<char *, size_t>> mine;
	for (int i = 0; i < 300; ++i) {
		void *p = nullptr;
		const size_t n = 1 + random() % 5000;
		if (sio_reserve(region, &p, n) == 0) {
			auto *const at = static_cast<char *>(p);
			CHILD_REQUIRE(at >= base && at + n <= base + size);
			memset(at, 'x', n);
			mine.emplace_back(at, n);
		}
		struct dma_stat stat {};
		CHILD_REQUIRE(dma_stat(region, &stat) == 0);
		if (!mine.empty()) {
			const auto [at, bytes] = mine[random() % mine.size()];
			sio_send(s.b, at, std::min<size_t>(bytes, 100),
				 MSG_DONTWAIT | MSG_NOSIGNAL);
			if (const int got = sio_recv(s.a, &p, 3000, MSG_DONTWAIT); got > 0) {
				CHILD_REQUIRE(static_cast<char *>(p) >= base &&
					      static_cast<char *>(p) + got <= base + size);
				sio_release(region, p, size_t(got));
			}
			struct aiocb cb {};
			cb.aio_fildes = s.b;
			cb.aio_buf = at;
			cb.aio_nbytes = std::min<size_t>(bytes, 100);
			cb.aio_dma_buf = region;
			const struct aiocb *list[] = {&cb};
			if (aio_send(&cb, AIO_DMA_BUF | MSG_DONTWAIT) == 0) {
				while (aio_error(&cb) == EINPROGRESS)
					aio_suspend(list, 1, nullptr);
				aio_return(&cb);
			}
		}
		if (mine.size() > 20) {
			sio_release(region, mine.front().first, mine.front().second);
			mine.erase(mine.begin());
		}
	}
}

} // namespace

BOOST_AUTO_TEST_CASE(
	what_a_child_writes_into_the_bookkeeping_never_leads_the_parent_out_of_the_region)
{
	const auto constant = [](uint64_t word) {
		return [word](uint64_t, std::mt19937 &) { return word; };
	};
	const std::vector<std::function<uint64_t(uint64_t, std::mt19937 &)>> ways{
		constant(0),
		constant(~uint64_t{0}),
		constant(~uint64_t{0} >> 1),
		constant(uint64_t{1} << 63 | 1000),
		[](uint64_t, std::mt19937 &r) { return uint64_t{r()} << 32 | r(); },
		[](uint64_t old, std::mt19937 &r) { return old ^ uint64_t { 1 } << r() % 64; },
		[](uint64_t old, std::mt19937 &) {
			return old == 0 ? old : (old & ~uint64_t{0xffffffffff}) | uint64_t{1} << 35;
		},
		[](uint64_t old, std::mt19937 &) {
			return old == 0 ? old : old | uint64_t{3} << 58;
		},
	};
	for (size_t way = 0; way < ways.size(); ++way)
		BOOST_TEST_CONTEXT("way " << way)
		{
			// In a process of its own, whose death is this one's.
			BOOST_TEST(in_child([&] {
					   Region region(size);
					   Pair s = make_pair(udp4_kind);
					   region.associate(s.a);
					   char *const first = region.reserve(128);
					   char *const base =
						   first -
						   (reinterpret_cast<uintptr_t>(first) & 4095);
					   std::mt19937 random(unsigned(way) + 1);
					   // Released while a request holds it: what the record
					   // says counts at the end of that.
					   Pair full = make_pair(unix_stream_kind);
					   std::string const text(65536, 'f');
					   while (send(full.a, text.data(), text.size(),
						       MSG_DONTWAIT) > 0) {
					   }
					   static struct aiocb pending;
					   pending.aio_fildes = full.a;
					   pending.aio_buf = region.reserve(1000);
					   pending.aio_nbytes = 1000;
					   pending.aio_dma_buf = region;
					   CHILD_REQUIRE(aio_send(&pending, AIO_DMA_BUF) == 0);
					   CHILD_REQUIRE(
						   sio_release(region,
							       const_cast<void *>(pending.aio_buf),
							       1000) == 0);
					   int stop[2];
					   CHILD_REQUIRE(pipe(stop) == 0 &&
							 fcntl(stop[0], F_SETFL, O_NONBLOCK) == 0);
					   pid_t const writer = spawn_child([&] {
						   close(stop[1]);
						   std::mt19937 mine(unsigned(way) + 100);
						   auto const places = shared_bookkeeping(first);
						   char end;
						   while (read(stop[0], &end, 1) != 0)
							   for (auto const [from, to] : places)
								   for (uint64_t *word = from;
									word < to;
									word += 1 + mine() % 8) {
									   if (*word == 0 &&
									       mine() % 16 != 0)
										   continue;
									   *word = ways[way](*word,
											     mine);
								   }
					   });
					   close(stop[0]);
					   use_everything(region, base, s, random);
					   close(stop[1]);
					   CHILD_REQUIRE(wait_for(writer) == 0);
					   std::string buffer(65536, 0);
					   struct aiocb const *list[] = {&pending};
					   while (aio_error(&pending) == EINPROGRESS) {
						   struct timespec const moment{0, 1000000};
						   recv(full.b, buffer.data(), buffer.size(),
							MSG_DONTWAIT);
						   aio_suspend(list, 1, &moment);
					   }
					   CHILD_REQUIRE(aio_error(&pending) == 0 &&
							 aio_return(&pending) == 1000);
					   use_everything(region, base, s, random);
				   }) == 0);
		}
}

BOOST_AUTO_TEST_CASE(the_pieces_of_a_process_that_is_killed_come_back_where_room_is_missing)
{
	Region region(65536);
	Pair s = make_pair(udp4_kind);
	region.associate(s.a);
	int told[2];
	BOOST_TEST_REQUIRE(pipe(told) == 0);
	for (bool reads : {false, true})
		BOOST_TEST_CONTEXT("reads " << reads)
		{
			const pid_t child = spawn_child([&] {
				void *p;
				if (!reads)
					for (int i = 0; i < 8; ++i)
						CHILD_REQUIRE(sio_reserve(region, &p, 4096) == 0);
				CHILD_REQUIRE(write(told[1], "x", 1) == 1);
				if (reads)
					sio_recv(s.a, &p, 32768, 0);
				pause();
			});
			char c;
			BOOST_TEST_REQUIRE(read(told[0], &c, 1) == 1);
			// What it is in when it is killed makes no difference.
			kill(child, SIGKILL);
			BOOST_TEST(wait_for(child) == 128 + SIGKILL);
			char *const all = region.reserve(65536);
			region.release(all, 65536);
			BOOST_TEST(region.stat().used == 0u);
		}
}

BOOST_AUTO_TEST_CASE(a_child_keeps_what_its_parent_had_when_that_ends)
{
	Region region(65536);
	int told[2], go[2];
	BOOST_TEST_REQUIRE(pipe(told) == 0);
	BOOST_TEST_REQUIRE(pipe(go) == 0);
	const pid_t parent = spawn_child([&] {
		void *p;
		CHILD_REQUIRE(sio_reserve(region, &p, 4096) == 0);
		memset(p, 'k', 4096);
		spawn_child([&] {
			char c;
			struct dma_stat s {};
			CHILD_REQUIRE(dma_stat(region, &s) == 0);
			CHILD_REQUIRE(write(told[1], "x", 1) == 1 && read(go[0], &c, 1) == 1);
			bool const there =
				std::all_of(static_cast<char *>(p), static_cast<char *>(p) + 4096,
					    [](char b) { return b == 'k'; });
			CHILD_REQUIRE(sio_release(region, p, 4096) == 0);
			CHILD_REQUIRE(write(told[1], there ? "y" : "n", 1) == 1);
		});
		char c;
		CHILD_REQUIRE(read(told[0], &c, 1) == 1);
	});
	BOOST_TEST(wait_for(parent) == 0);
	const auto pieces = [&] {
		std::vector<std::pair<void *, size_t>> all;
		for (void *p; sio_reserve(region, &p, 4096) == 0;)
			all.emplace_back(p, 4096), memset(p, 'o', 4096);
		return all;
	}();
	BOOST_TEST(pieces.size() == 15u);
	BOOST_TEST(write(go[1], "x", 1) == 1);
	char c = 0;
	BOOST_TEST(read(told[0], &c, 1) == 1);
	BOOST_TEST(c == 'y');
	region.release(pieces);
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(a_process_may_be_killed_at_any_moment_and_no_unit_is_lost)
{
	Region region(65536);
	std::mt19937 random(7);
	int told[2];
	BOOST_TEST_REQUIRE(pipe(told) == 0);
	for (int i = 0; i < 60; ++i) {
		const pid_t child = spawn_child([&] {
			std::mt19937 mine(unsigned(i) + 1);
			bool first = true;
			for (std::vector<std::pair<void *, size_t>> held;;) {
				void *p;
				size_t const n = 1 + mine() % 2000;
				if (held.size() < 10 && sio_reserve(region, &p, n) == 0)
					held.emplace_back(p, n);
				if (mine() % 2 == 0 && !held.empty()) {
					CHILD_REQUIRE(sio_release(region, held.back().first,
								  held.back().second) == 0);
					held.pop_back();
				}
				if (std::exchange(first, false))
					CHILD_REQUIRE(write(told[1], "x", 1) == 1);
			}
		});
		char c;
		BOOST_TEST_REQUIRE(read(told[0], &c, 1) == 1);
		usleep(random() % 3000);
		kill(child, SIGKILL);
		BOOST_TEST_REQUIRE(wait_for(child) == 128 + SIGKILL);
	}
	// What the dead had comes back where room is missing.
	region.release(region.reserve(65536), 65536);
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(a_send_of_a_process_that_ends_holds_no_piece_of_the_others)
{
	Region region(65536);
	Pair full = make_pair(unix_stream_kind);
	std::string const text(65536, 'f');
	while (send(full.a, text.data(), text.size(), MSG_DONTWAIT) > 0) {
	}
	char *const p = region.reserve(65536);
	BOOST_TEST(in_child([&] {
			   static struct aiocb cb;
			   cb.aio_fildes = full.a;
			   cb.aio_buf = p;
			   cb.aio_nbytes = 65536;
			   cb.aio_dma_buf = region;
			   CHILD_REQUIRE(aio_send(&cb, AIO_DMA_BUF) == 0 &&
					 aio_error(&cb) == EINPROGRESS);
		   }) == 0);
	region.release(p, 65536);
	Pair s = make_pair(udp4_kind);
	region.associate(s.a);
	BOOST_TEST(send(s.b, "x", 1, 0) == 1);
	void *got = nullptr;
	BOOST_TEST_REQUIRE(sio_recv(s.a, &got, 65536, 0) == 1);
	region.release(got, 1);
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(a_piece_may_be_sent_any_number_of_times_at_once)
{
	constexpr unsigned times = 33000;
	Region region(4096);
	Pair full = make_pair(unix_stream_kind);
	std::string const text(65536, 'f');
	while (send(full.a, text.data(), text.size(), MSG_DONTWAIT) > 0) {
	}
	char *const p = region.piece("p");
	std::vector<struct aiocb> all(times);
	unsigned accepted = 0;
	for (auto &cb : all) {
		cb.aio_fildes = full.a;
		cb.aio_buf = p;
		cb.aio_nbytes = 1;
		cb.aio_dma_buf = region;
		if (aio_send(&cb, AIO_DMA_BUF) != 0) {
			BOOST_TEST_REQUIRE(errno == EAGAIN);
			break;
		}
		accepted++;
	}
	BOOST_TEST(accepted > 1000u);
	region.release(p, 1);
	BOOST_TEST(region.stat().used == 128u);
	aio_cancel(full.a, nullptr);
	std::thread reader([&] {
		char buffer[65536];
		while (recv(full.b, buffer, sizeof buffer, 0) > 0) {
		}
	});
	for (unsigned i = 0; i < accepted; ++i) {
		const struct aiocb *list[] = {&all[i]};
		while (aio_error(&all[i]) == EINPROGRESS)
			aio_suspend(list, 1, nullptr);
	}
	full.a.reset();
	reader.join();
	BOOST_TEST(region.stat().used == 0u);
}

BOOST_AUTO_TEST_CASE(a_child_counts_the_pieces_of_the_program_whatever_the_parent_has_lent)
{
	Region region(1 << 20);
	Pair s = make_pair(tcp4_kind);
	region.associate(s.a);
	const ec_t ec = ec_create(EC_SINGLE);
	BOOST_TEST_REQUIRE(ec >= 0);
	BOOST_TEST_REQUIRE(ev_recv(s.a, nullptr, 4096, AIO_DMA_BUF | EV_MULTISHOT, ec, &s) == 0);
	region.reserve(1000);
	int go[2];
	BOOST_TEST_REQUIRE(pipe(go) == 0);
	const pid_t child = spawn_child([&] {
		char c;
		CHILD_REQUIRE(read(go[0], &c, 1) == 1);
		CHILD_REQUIRE(region.stat().used == 1024);
	});
	BOOST_TEST(ev_cancel(ec, &s) == 0);
	event_data_t e;
	BOOST_TEST(ec_next_event(ec, &e) == 0);
	BOOST_TEST(region.stat().used == 1024u);
	BOOST_TEST(write(go[1], "x", 1) == 1);
	BOOST_TEST(wait_for(child) == 0);
	BOOST_TEST(ec_destroy(ec) == 0);
}

// ------------------------------------------------- a child that no handler has heard of

namespace {

/// What is in the table of a child that takes all arrivals from its parent, if it can.
enum class Attack { takes_sockets_out, takes_events };

[[noreturn]] void attack(Attack how, int ready)
{
	constexpr int instances = 1100, files = 100;
	for (bool said = false;; said = true) {
		for (int i = 3; i < instances; ++i) {
			epoll_event e[8];
			if (how == Attack::takes_events)
				while (epoll_wait(i, e, 8, 0) > 0)
					;
			else if (epoll_ctl(i, EPOLL_CTL_DEL, i, nullptr) == 0 || errno == EINVAL)
				for (int fd = 0; fd < files; ++fd)
					epoll_ctl(i, EPOLL_CTL_DEL, fd, nullptr);
		}
		if (!said && write(ready, "y", 1) != 1)
			_exit(1);
	}
}

/// It lives until the end of the scope.
class Attacker {
public:
	explicit Attacker(Attack how)
	{
		int ready[2];
		BOOST_TEST_REQUIRE(pipe2(ready, O_CLOEXEC) == 0);
		child_ = static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
		if (child_ == 0)
			attack(how, ready[1]);
		close(ready[1]);
		char byte;
		BOOST_TEST_REQUIRE(read(ready[0], &byte, 1) == 1);
		close(ready[0]);
	}
	Attacker(const Attacker &) = delete;
	~Attacker()
	{
		kill(child_, SIGKILL);
		waitpid(child_, nullptr, 0);
	}

private:
	pid_t child_;
};

} // namespace

BOOST_AUTO_TEST_CASE(a_child_that_no_handler_has_heard_of_keeps_no_arrival_from_its_parent)
{
	Region region(size);
	for (Attack how : {Attack::takes_sockets_out, Attack::takes_events})
		for (unsigned flags : {0u, unsigned(DMA_LATEST)}) {
			Associated s(udp4_kind, region, flags);
			Request &waiting = on_region(s, region, 100);
			BOOST_TEST_REQUIRE(aio_recv(&waiting.cb, AIO_DMA_BUF) == 0);
			const Attacker attacker(how);
			for (int i = 0; i < 20; ++i)
				s.peer_sends("data");
			BOOST_TEST(received(waiting, region) == "data");
		}
}
