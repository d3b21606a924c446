// SPDX-License-Identifier: MIT
//
// A peer that speaks to an endpoint by libfabric itself, and says what it likes, and one that
// writes to its port without libfabric: no crash, no hang, no byte where none belongs, no memory
// without end, and others go on.
//
// The seed is the day's, or SIGEVEC_SEED; SIGEVEC_ROUNDS says how many messages are drawn.
#define BOOST_TEST_MODULE fabric_hostile
#include "fabric.hpp"
#include "fabric/protocol.hpp"
#include "seed.hpp"

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <netinet/in.h>
#include <random>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

namespace {

using sigevec::fabric::Header;
using sigevec::fabric::Kind;

/// An endpoint of libfabric's with nothing of the library's behind it.
class Raw {
public:
	explicit Raw(const Card &to)
	{
		fi_info *const h = fi_allocinfo();
		h->caps = FI_MSG;
		h->mode = FI_CONTEXT;
		h->ep_attr->type = FI_EP_RDM;
		h->domain_attr->mr_mode = FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
		h->fabric_attr->prov_name =
			strdup(strcmp(provider(), "tcp") == 0 ? "tcp;ofi_rxm" : provider());
		BOOST_TEST_REQUIRE(fi_getinfo(FI_VERSION(1, 17), "127.0.0.1", nullptr, FI_SOURCE, h,
					      &info_) == 0);
		fi_freeinfo(h);
		fi_cq_attr c{};
		c.format = FI_CQ_FORMAT_MSG;
		fi_av_attr v{};
		v.type = FI_AV_TABLE;
		BOOST_TEST_REQUIRE(fi_fabric(info_->fabric_attr, &fabric_, nullptr) == 0);
		BOOST_TEST_REQUIRE(fi_domain(fabric_, info_, &domain_, nullptr) == 0);
		BOOST_TEST_REQUIRE(fi_cq_open(domain_, &c, &cq_, nullptr) == 0);
		BOOST_TEST_REQUIRE(fi_av_open(domain_, &v, &av_, nullptr) == 0);
		BOOST_TEST_REQUIRE(fi_endpoint(domain_, info_, &ep_, nullptr) == 0);
		BOOST_TEST_REQUIRE(fi_ep_bind(ep_, &av_->fid, 0) == 0);
		BOOST_TEST_REQUIRE(fi_ep_bind(ep_, &cq_->fid, FI_TRANSMIT | FI_RECV) == 0);
		BOOST_TEST_REQUIRE(fi_enable(ep_) == 0);
		BOOST_TEST_REQUIRE(fi_av_insert(av_, &to.name, 1, &to_, 0, nullptr) == 1);
		sockaddr_in name{};
		size_t length = sizeof name;
		BOOST_TEST_REQUIRE(fi_getname(&ep_->fid, &name, &length) == 0);
		memcpy(name_, &name, sizeof name);
		listen();
	}
	~Raw()
	{
		fi_close(&ep_->fid);
		fi_close(&cq_->fid);
		fi_close(&av_->fid);
		fi_close(&domain_->fid);
		fi_close(&fabric_->fid);
		fi_freeinfo(info_);
	}
	Raw(const Raw &) = delete;

	/// What would be right in a message of this kind.
	Header header(Kind kind, uint64_t number, size_t size) const
	{
		Header h{};
		h.magic = sigevec::fabric::magic;
		h.kind = kind;
		h.name_length = sizeof(sockaddr_in);
		h.from_life = life;
		h.to_life = their_life;
		h.size = uint32_t(size);
		h.largest = longest;
		h.granted = 8;
		h.number = number;
		memcpy(h.name, name_, sizeof(sockaddr_in));
		return h;
	}
	void say(const Header &h, std::string_view text = {})
	{
		std::string all(reinterpret_cast<const char *>(&h), sizeof h);
		say_bytes(all.append(text));
	}
	/// Waits until the provider has sent it.
	void say_bytes(const std::string &bytes)
	{
		const auto limit = std::chrono::steady_clock::now() + hang_limit;
		ssize_t n;
		fi_context context{};
		const size_t before = sent_;
		while ((n = fi_send(ep_, bytes.data(), bytes.size(), nullptr, to_, &context)) ==
		       -FI_EAGAIN) {
			BOOST_TEST_REQUIRE((std::chrono::steady_clock::now() < limit));
			hear();
		}
		BOOST_TEST_REQUIRE(n == 0);
		while (sent_ == before) {
			BOOST_TEST_REQUIRE((std::chrono::steady_clock::now() < limit));
			hear();
		}
	}
	/// A session, as the library's own peers begin one.
	void greet()
	{
		life = life * 6364136223846793005u + 1442695040888963407u;
		their_life = 0;
		say(header(Kind::hello, ++hellos_, 0));
		BOOST_TEST_REQUIRE(eventually([&] {
			hear();
			return their_life != 0;
		}));
	}
	/// Takes what has come; the first of a kind is kept.
	void hear()
	{
		fi_cq_msg_entry e{};
		const ssize_t n = fi_cq_read(cq_, &e, 1);
		if (n == -FI_EAVAIL) {
			fi_cq_err_entry error{};
			fi_cq_readerr(cq_, &error, 0);
			sent_ += (error.flags & FI_SEND) != 0;
			return;
		}
		if (n != 1)
			return;
		if ((e.flags & FI_RECV) == 0) {
			++sent_;
			return;
		}
		memcpy(&last, in_, sizeof last);
		++heard[size_t(last.kind) % heard.size()];
		if (last.kind == Kind::welcome)
			their_life = last.from_life;
		listen();
	}

	uint64_t life = 12345, their_life = 0;
	Header last{};
	std::array<unsigned, 16> heard{};

private:
	void listen() { BOOST_TEST_REQUIRE(fi_recv(ep_, in_, sizeof in_, nullptr, 0, &in_) == 0); }

	fi_info *info_ = nullptr;
	fid_fabric *fabric_ = nullptr;
	fid_domain *domain_ = nullptr;
	fid_cq *cq_ = nullptr;
	fid_av *av_ = nullptr;
	fid_ep *ep_ = nullptr;
	fi_addr_t to_ = 0;
	unsigned char name_[sizeof(sockaddr_in)];
	char in_[20000];
	size_t sent_ = 0;
	uint64_t hellos_ = 0;
};

/// The victim, one that is well behaved, and what it has exported.
struct Scene {
	Region region{region_size}, good_region{region_size};
	Endpoint victim{region}, good{good_region};
	char *exported = region.reserve(4096);
	dma_key_t key{};
	Raw raw{victim.card()};
	Scene()
	{
		memset(exported, 'e', 4096);
		BOOST_TEST_REQUIRE(dma_export(region, victim, exported, 4096, DMA_READ | DMA_WRITE,
					      &key) == 0);
	}
	/// Everything else goes on.
	void check(std::string_view text) const
	{
		BOOST_TEST_REQUIRE(good.send(victim.card(), text) == int(text.size()));
		for (std::string got; got != text;)
			got = victim.receive(); // what the hostile one has sent by right
		BOOST_TEST(std::all_of(exported, exported + 4096, [](char c) { return c == 'e'; }));
	}
};

long resident_kib()
{
	std::ifstream f("/proc/self/status");
	for (std::string word; f >> word;)
		if (long n; word == "VmRSS:" && f >> n)
			return n;
	return 0;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_peer_that_follows_the_rules_is_heard)
{
	Scene s;
	s.raw.greet();
	s.raw.say(s.raw.header(Kind::data, 1, 5), "hello");
	BOOST_TEST((s.victim.receive() == "hello"));
	BOOST_TEST(s.victim.stat().malformed == 0);
}

BOOST_AUTO_TEST_CASE(of_an_address_nothing_is_told_but_its_numbers)
{
	Scene s;
	s.raw.greet();
	Header h = s.raw.header(Kind::data, 1, 5);
	h.name_length = sizeof h.name;
	memset(h.name + offsetof(sockaddr_in, sin_zero), 'x',
	       sizeof h.name - offsetof(sockaddr_in, sin_zero));
	s.raw.say(h, "hello");
	Address from;
	BOOST_TEST((s.victim.receive(&from) == "hello"));
	constexpr size_t numbers = offsetof(sockaddr_in, sin_zero);
	BOOST_TEST(memcmp(&from.storage, h.name, numbers) == 0);
	const auto *const rest = reinterpret_cast<const char *>(&from.storage);
	BOOST_TEST(std::count(rest, rest + sizeof from.storage, 'x') == 0);
}

BOOST_AUTO_TEST_CASE(messages_drawn_by_chance_do_no_harm)
{
	const uint64_t seed = from_environment("SIGEVEC_SEED", seed_of_the_day());
	const uint64_t rounds = from_environment("SIGEVEC_ROUNDS", 400);
	BOOST_TEST_MESSAGE("seed " << seed);
	std::mt19937_64 chance(seed);
	Scene s;
	for (uint64_t i = 0; i < rounds; ++i) {
		if (i % 50 == 0)
			s.raw.greet();
		std::string bytes;
		if (chance() % 4 == 0) {
			bytes.resize(chance() % 300 + 1);
			for (char &c : bytes)
				c = char(chance());
		} else {
			// One that would be right, with a few bytes that are not.
			const size_t size = chance() % 3 == 0 ? sizeof s.key : chance() % 200;
			const Header h = s.raw.header(Kind(chance() % 13), chance() % 12, size);
			bytes.assign(reinterpret_cast<const char *>(&h), sizeof h);
			bytes.append(reinterpret_cast<const char *>(&s.key),
				     size == sizeof s.key ? size : 0);
			bytes.resize(sizeof h + size, 'x');
			for (auto n = chance() % 4; n > 0; --n)
				bytes[chance() % bytes.size()] = char(chance());
		}
		s.raw.say_bytes(bytes);
	}
	s.check("and the others go on");
}

BOOST_AUTO_TEST_CASE(messages_beyond_the_room_or_twice_are_dropped)
{
	Scene s;
	s.raw.greet();
	for (const uint64_t number :
	     {uint64_t{1}, uint64_t{1}, uint64_t{0}, uint64_t{9}, ~uint64_t{0}})
		s.raw.say(s.raw.header(Kind::data, number, 1), "1");
	s.raw.say(s.raw.header(Kind::data, 2, 1), "2");
	BOOST_TEST((s.victim.receive() == "1"));
	BOOST_TEST((s.victim.receive() == "2"));
	BOOST_TEST(!s.victim.readable());
	BOOST_TEST(s.victim.stat().malformed == 4);
	s.check("others");
}

BOOST_AUTO_TEST_CASE(a_forged_key_is_refused_and_one_that_is_withdrawn)
{
	Scene s;
	s.raw.greet();
	auto ask = [&](const dma_key_t &key) {
		const unsigned before = s.raw.heard[size_t(Kind::answer)];
		s.raw.say(s.raw.header(Kind::ask, 77, sizeof key),
			  {reinterpret_cast<const char *>(&key), sizeof key});
		BOOST_TEST_REQUIRE(eventually([&] {
			s.raw.hear();
			return s.raw.heard[size_t(Kind::answer)] != before;
		}));
		return int(s.raw.last.result);
	};
	for (size_t i = 0; i < sizeof(dma_key_t); i += 7) {
		dma_key_t forged = s.key;
		forged.bytes[i] = static_cast<unsigned char>(forged.bytes[i] ^ 1);
		BOOST_TEST(ask(forged) == EACCES);
	}
	BOOST_TEST(ask(s.key) == 0);
	// It has been told that the key is good: it is waited for until it has let it go.
	std::thread owner([&] { BOOST_TEST(dma_revoke(s.victim, &s.key) == 0); });
	BOOST_TEST(eventually([&] {
		s.raw.hear();
		return s.raw.heard[size_t(Kind::revoke)] != 0;
	}));
	const uint64_t withdrawal = s.raw.last.number;
	BOOST_TEST(ask(s.key) == EACCES);
	s.raw.say(s.raw.header(Kind::revoked, withdrawal + 1, 0));
	s.raw.say(s.raw.header(Kind::revoked, withdrawal, 0));
	owner.join();
	s.check("others");
}

BOOST_AUTO_TEST_CASE(one_that_begins_again_and_again_costs_no_memory)
{
	Scene s;
	auto again = [&](int times) {
		for (int i = 0; i < times; ++i) {
			s.raw.greet();
			// Then one that does not know the session any more.
			Header h = s.raw.header(Kind::reset, s.raw.life, 0);
			s.raw.say(h);
			h = s.raw.header(Kind::ping, 0, 0);
			s.raw.say(h);
		}
	};
	again(20);
	// libfabric's own pools grow by much at a time, and seldom.
	std::vector<long> grown;
	for (int turn = 0; turn < 3; ++turn) {
		const long before = resident_kib();
		again(150);
		grown.push_back(resident_kib() - before);
	}
	BOOST_TEST(*std::min_element(grown.begin(), grown.end()) < 10000);
	s.check("others");
}

BOOST_AUTO_TEST_CASE(names_of_nobody_stop_nobody)
{
	Scene s;
	for (int i = 0; i < 500; ++i) {
		Header h = s.raw.header(Kind::hello, 1, 0);
		sockaddr_in name{};
		name.sin_family = AF_INET;
		name.sin_port = htons(1); // nobody listens there
		name.sin_addr.s_addr = htonl(INADDR_LOOPBACK + unsigned(i) * 3 + 7);
		memcpy(h.name, &name, sizeof name);
		h.from_life = uint64_t(i) + 1;
		s.raw.say(h);
	}
	s.check("others");
}

namespace {

/// What an endpoint says first to whoever listens at an address that it sends to.
std::string first_words()
{
	const Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	Card to;
	auto *const name = reinterpret_cast<sockaddr_in *>(&to.name);
	name->sin_family = AF_INET;
	name->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to.length = sizeof *name;
	BOOST_TEST_REQUIRE(bind(listener, to.get(), to.length) == 0);
	BOOST_TEST_REQUIRE(listen(listener, 50) == 0);
	BOOST_TEST_REQUIRE(
		getsockname(listener, reinterpret_cast<sockaddr *>(&to.name), &to.length) == 0);
	const Region region(region_size);
	const Endpoint speaker(region);
	CHECK_FAILS(speaker.send(to, "anybody", MSG_DONTWAIT), EAGAIN);
	// It may look whether anybody is there, too, by a connection without a word.
	for (;;) {
		pollfd ready{listener, POLLIN, 0};
		BOOST_TEST_REQUIRE(poll(&ready, 1, 1000 * int(hang_limit.count())) == 1);
		const Fd connection(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
		char words[4096];
		const ssize_t n = recv(connection, words, sizeof words, 0);
		if (n > 0)
			return {words, size_t(n)};
	}
}

std::string bytes_by_chance(std::mt19937_64 &chance, const std::string &words)
{
	std::string bytes;
	if (chance() % 3 != 0) {
		bytes = words;
		for (auto n = chance() % 5; n > 0; --n)
			bytes[chance() % bytes.size()] = char(chance());
	}
	if (chance() % 4 == 0)
		bytes.resize(chance() % (bytes.size() + 1));
	if (chance() % 2 == 0)
		for (auto n = chance() % 2000; n > 0; --n)
			bytes.push_back(char(chance()));
	return bytes;
}

} // namespace

BOOST_AUTO_TEST_CASE(bytes_by_chance_at_the_port_do_no_harm)
{
	const uint64_t seed = from_environment("SIGEVEC_SEED", seed_of_the_day());
	const uint64_t rounds = from_environment("SIGEVEC_ROUNDS", 400) / 4;
	BOOST_TEST_MESSAGE("seed " << seed);
	std::mt19937_64 chance(seed);
	const std::string words = first_words();
	const Scene s;
	std::vector<Fd> kept(8); // connections, some of which say nothing more for a while
	for (uint64_t i = 0; i < rounds; ++i) {
		Fd &c = kept[chance() % kept.size()];
		c.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
		const Card &to = s.victim.card();
		BOOST_TEST_REQUIRE(connect(c, to.get(), to.length) == 0);
		const std::string bytes = bytes_by_chance(chance, words);
		send(c, bytes.data(), bytes.size(), MSG_NOSIGNAL);
		// It has an answer, or its end, before more comes; or not.
		char answer[4096];
		if (chance() % 4 == 0) {
			pollfd ready{c, POLLIN, 0};
			if (poll(&ready, 1, 20) == 1 && recv(c, answer, sizeof answer, 0) > 0)
				send(c, bytes.data(), bytes.size(), MSG_NOSIGNAL);
		}
		if (chance() % 4 == 0)
			shutdown(c, SHUT_WR);
		if (chance() % 4 == 0) {
			const linger at_once{1, 0};
			setsockopt(c, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
		}
	}
	s.check("and the others go on");
}
