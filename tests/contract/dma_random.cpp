// SPDX-License-Identifier: MIT
//
// Threads and processes that do anything at random with four sockets of each kind and one
// region, and at the end every byte, every descriptor and every unit of the region is
// accounted for.
//
// The seed is printed; SIGEVEC_TEST_SEED gives it again. What threads do one after the other
// follows from it; how they get in each other's way does not, and nothing that is checked depends
// on that:
//
// * A stream's bytes all have the number of its socket: as many as were sent arrive, and no others.
//   A
//   datagram has a number of its own: it arrives once, whole.
// * A process that is killed may take with it what it was asking for just then (`asking'), no more.
// * With DMA_LATEST what is missing has been counted.
// * Descriptors that travel are all of one pipe: when nobody has one any more it says so.
#define BOOST_TEST_MODULE dma_random
#include "dma_random_actor.hpp"

#include <random>
#include <sys/mman.h>

namespace {

using namespace contract::chance;

void make_world()
{
	void *const m = mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	BOOST_TEST_REQUIRE(m != MAP_FAILED);
	ledger = new (m) Ledger{};
	world = new World;
	int ends[2];
	BOOST_TEST_REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
	world->token_reader.reset(ends[0]);
	world->token.reset(ends[1]);
	Pair stuck = make_pair(unix_stream_kind);
	world->stuck = std::move(stuck.a);
	world->stuck_peer = std::move(stuck.b);
	for (int k = 0; k < sockets; ++k) {
		Socket &s = world->socket[k];
		const int place = k % of_each_kind;
		s.kind = used[k / of_each_kind];
		s.flags = place == 2                  ? unsigned(DMA_BUFSIZE(piece))
			  : place == 3 && !s.stream() ? unsigned(DMA_LATEST)
						      : 0u;
		Pair pair = make_pair(s.kind);
		s.fd = pair.a.release();
		limit_waiting(s.fd);
		s.peer = std::move(pair.b);
		world->region.associate(s.fd, s.flags);
		if (place == 1)
			world->other.associate(s.fd);
	}
}

void run_child(int which, unsigned seed)
{
	Actor actor(seed, which);
	while (!ledger->stop)
		actor.step();
	actor.end();
	_exit(ledger->failed);
}

pid_t start_child(int which, unsigned seed, uint64_t *lost)
{
	// What the last one asked for has gone with it.
	for (int k = 0; k < sockets; ++k)
		lost[k] += ledger->asking[which][k].exchange(0);
	std::unique_lock const alone(world->forking);
	const pid_t child = fork();
	if (child == 0) {
		signal(SIGALRM, SIG_DFL);
		alarm(case_limit);
		run_child(which, seed);
	}
	return child;
}

/// Reads what is left; `allowed' may be missing.
void drain(int k, uint64_t allowed)
{
	Socket &s = world->socket[k];
	Ledger::Socket &l = ledger->socket[k];
	if (s.kind.type != SOCK_DGRAM)
		shutdown(s.peer, SHUT_WR);
	bool ended = false;
	const auto complete = [&] {
		for (int n = 1; n > 0 && !ended;) {
			void const *p = nullptr;
			n = sio_recvmsg(s.fd, &p, piece, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
			ended = n == 0;
			if (n > 0)
				account(k,
					static_cast<char *>(
						static_cast<msghdr *>(const_cast<void *>(p))
							->msg_iov->iov_base),
					size_t(n));
			if (n >= 0 && p != nullptr) {
				close_all(static_cast<msghdr *>(const_cast<void *>(p)));
				give_back(p, size_t(n));
			}
		}
		// A stream or connection says itself when that was all.
		return s.kind.type != SOCK_DGRAM ? ended : l.received + allowed >= l.sent;
	};
	BOOST_TEST_CONTEXT("socket " << k << ", " << s.kind.name)
	{
		BOOST_TEST(eventually(complete));
		BOOST_TEST(l.received <= l.sent);
		BOOST_TEST(l.received + allowed * (s.stream() ? piece : 1) >= l.sent);
	}
}

void run(unsigned seed)
{
	make_world();
	uint64_t lost[sockets] = {};
	pid_t child[children];
	for (unsigned i = 0; i < children; ++i)
		child[i] = start_child(int(i), seed * 100 + i, lost);
	std::vector<std::thread> actors;
	for (unsigned i = 0; i < threads; ++i)
		actors.emplace_back([seed, i] {
			Actor actor(seed * 100 + 50 + i, -1);
			for (int step = 0; step < 4000 && !ledger->stop; ++step) {
				std::shared_lock const nobody_forks(world->forking);
				actor.step();
			}
			actor.end();
		});
	std::mt19937 random(seed);
	// AddressSanitizer does not see to its allocator at fork: a child made amid all this may
	// find it locked for ever.
	int constexpr most_deaths = address_sanitizer ? 0 : 20;
	for (int deaths = 0; deaths < most_deaths && !ledger->stop; ++deaths) {
		usleep(random() % 20000);
		const unsigned i = random() % children;
		kill(child[i], SIGKILL);
		wait_for(child[i]);
		child[i] = start_child(int(i), random(), lost);
	}
	for (std::thread &t : actors)
		t.join();
	ledger->stop = true;
	// One of them has no time to end well.
	kill(child[0], SIGKILL);
	for (unsigned i = 0; i < children; ++i) {
		const int status = wait_for(child[i]);
		if (i != 0)
			BOOST_TEST(status == 0);
	}
	for (int k = 0; k < sockets; ++k)
		lost[k] += ledger->asking[0][k];
	if (ledger->failed)
		BOOST_FAIL(ledger->why);

	for (int k = 0; k < sockets; ++k)
		drain(k, lost[k] + (world->socket[k].flags == unsigned(DMA_LATEST)
					    ? world->region.stat().dropped
					    : 0));
	if (ledger->failed)
		BOOST_FAIL(ledger->why);
	uint64_t missing = 0;
	for (int k = 0; k < sockets; ++k)
		if (world->socket[k].flags == unsigned(DMA_LATEST))
			missing += ledger->socket[k].sent - ledger->socket[k].received;
	BOOST_TEST(missing == world->region.stat().dropped);

	for (int k = 0; k < sockets; ++k)
		BOOST_TEST_MESSAGE(k << ": " << ledger->socket[k].sent << " sent, "
				     << ledger->socket[k].received << " received, may be lost "
				     << lost[k]);
	for (Socket &s : world->socket)
		close(s.fd.exchange(-1));
	world->idle.clear();
	world->stuck.reset();
	world->stuck_peer.reset();
	for (Socket &s : world->socket)
		s.peer.reset();
	// Closed sockets count no more when there is room to be made, and the dead hold nothing.
	for (Region *r : {&world->region, &world->other}) {
		const auto all = r->fill();
		r->release(all);
		BOOST_TEST(r->stat().used == 0u);
		BOOST_TEST(r->stat().requests == 0u);
		BOOST_TEST(eventually([&] { return dma_free(*r, r->size()) == 0; }));
	}
	world->token.reset();
	pollfd token{world->token_reader, POLLIN, 0};
	BOOST_TEST(eventually(
		[&] { return poll(&token, 1, 0) == 1 && (token.revents & POLLHUP) != 0; }));
	munmap(ledger, sizeof *ledger);
	delete world;
}

} // namespace

BOOST_AUTO_TEST_CASE(
	whatever_threads_and_processes_do_every_byte_descriptor_and_unit_is_accounted_for)
{
	const char *const given = getenv("SIGEVEC_TEST_SEED");
	const unsigned seed = given != nullptr ? unsigned(strtoul(given, nullptr, 10))
					       : std::random_device{}() % 1000000;
	printf("SIGEVEC_TEST_SEED=%u\n", seed);
	fflush(stdout);
	run(seed);
}
