// SPDX-License-Identifier: MIT
//
// Two processes exchange numbers by put and by message, and one of them is killed at any moment,
// again and again: what has been answered has been received, whole, once and in order; what has
// been put is there; and nobody loses a neighbour that lives.
//
// The seed is the day's, or SIGEVEC_SEED; SIGEVEC_KILLS says how many are killed.
#define BOOST_TEST_MODULE fabric_kills
#include "fabric_kills.hpp"
#include "seed.hpp"

#include <ctime>
#include <map>
#include <netinet/in.h>
#include <random>
#include <tuple>

namespace {

using namespace contract::kills;

void be_a_side_perhaps()
{
	const char *const life = getenv("SIGEVEC_FABRIC_SIDE");
	if (life == nullptr)
		return;
	const char *const service = getenv("SIGEVEC_FABRIC_SERVICE");
	Side(uint32_t(strtoul(life, nullptr, 10)), *service != 0 ? service : nullptr).run();
}
const bool told = (before_all = be_a_side_perhaps, true);

using Session = std::tuple<uint32_t, uint32_t, uint32_t>; // from, to, epoch

/// What all sides have written down.
struct Book {
	std::map<Session, uint64_t> received, answered;
	std::map<uint32_t, unsigned> losses; // of a life that another has lost
	void note(const Record &r)
	{
		const Session s{r.from, r.to, r.epoch};
		if (r.what == Record::lost) {
			++losses[r.to];
			return;
		}
		uint64_t &last = r.what == Record::received ? received[s] : answered[s];
		BOOST_TEST_REQUIRE(r.number == last + 1);
		last = r.number;
	}
	void check() const
	{
		for (const auto &[session, number] : answered) {
			const auto at = received.find(session);
			BOOST_TEST_REQUIRE((at != received.end() && number <= at->second));
		}
	}
};

/// A side's process, one life after the other.
class Process {
public:
	explicit Process(Book &book) : book_(book) {}
	~Process() { kill(); }
	Process(const Process &) = delete;

	void start(uint32_t life, bool same_name)
	{
		same_name = same_name && me_.life != 0;
		setenv("SIGEVEC_FABRIC_SIDE", std::to_string(life).c_str(), 1);
		setenv("SIGEVEC_FABRIC_SERVICE", same_name ? port().c_str() : "", 1);
		pid_ = start_again("side", orders_, records_);
		unsetenv("SIGEVEC_FABRIC_SIDE");
		me_ = {life, same_name, {}};
	}
	void hear_of_itself()
	{
		BOOST_TEST_REQUIRE(comes());
		BOOST_TEST_REQUIRE(read(records_, &me_.card, sizeof me_.card) ==
				   ssize_t(sizeof me_.card));
		fcntl(records_, F_SETFL, O_NONBLOCK);
	}
	void tell(const Process &neighbour) const
	{
		BOOST_TEST_REQUIRE(write(orders_, &neighbour.me_, sizeof neighbour.me_) ==
				   ssize_t(sizeof neighbour.me_));
	}
	/// What it has written down so far. How many records.
	unsigned long hear()
	{
		Record r;
		unsigned long n = 0;
		ssize_t got;
		while ((got = read(records_, &r, sizeof r)) == ssize_t(sizeof r)) {
			book_.note(r);
			++n;
		}
		// It ends by us alone.
		BOOST_TEST_REQUIRE((pid_ < 0 || got != 0));
		return n;
	}
	void kill()
	{
		if (pid_ <= 0)
			return;
		::kill(pid_, SIGKILL);
		waitpid(pid_, nullptr, 0);
		pid_ = -1;
	}
	int records() const { return records_; }
	const Order &me() const { return me_; }

private:
	bool comes() const
	{
		pollfd ready{records_, POLLIN, 0};
		return poll(&ready, 1, 1000 * int(hang_limit.count())) == 1;
	}
	std::string port() const
	{
		const auto *name = reinterpret_cast<const sockaddr_in *>(&me_.card.name);
		return std::to_string(ntohs(name->sin_port));
	}
	Book &book_;
	pid_t pid_ = -1;
	Fd orders_, records_;
	Order me_{};
};

struct Neighbours {
	Book book;
	Process side[2]{Process(book), Process(book)};
	uint32_t lives = 0;

	Neighbours()
	{
		for (Process &p : side)
			p.start(++lives, false);
		for (Process &p : side)
			p.hear_of_itself();
		introduce();
	}
	void introduce() const
	{
		side[0].tell(side[1]);
		side[1].tell(side[0]);
	}
	void hear(unsigned long count)
	{
		for (unsigned long n = 0; n < count;) {
			pollfd ready[2] = {{side[0].records(), POLLIN, 0},
					   {side[1].records(), POLLIN, 0}};
			BOOST_TEST_REQUIRE(poll(ready, 2, 1000 * int(hang_limit.count())) > 0);
			n += side[0].hear();
			n += side[1].hear();
			nobody_who_lives_is_lost();
		}
	}
	void nobody_who_lives_is_lost() const
	{
		for (const Process &p : side)
			if (const auto at = book.losses.find(p.me().life);
			    at != book.losses.end() && !p.me().same_name)
				BOOST_FAIL("life " << p.me().life << " was lost and is alive");
	}
	void end()
	{
		for (Process &p : side)
			p.kill();
		for (Process &p : side)
			p.hear();
		book.check();
	}
	/// One more life of the side's; who answers was there before it.
	void replace(unsigned which, bool same_name)
	{
		side[which].kill();
		side[0].hear();
		side[1].hear();
		side[which].hear();
		book.check();
		side[which].start(++lives, same_name);
		side[which].hear_of_itself();
		introduce();
	}
};

} // namespace

BOOST_AUTO_TEST_CASE(what_was_answered_has_been_received_whoever_is_killed_and_whenever)
{
	const uint64_t seed = from_environment("SIGEVEC_SEED", seed_of_the_day());
	const uint64_t kills = from_environment("SIGEVEC_KILLS", 12);
	BOOST_TEST_MESSAGE("seed " << seed);
	std::mt19937_64 chance(seed);
	Neighbours pair;
	for (uint64_t i = 0; i < kills; ++i) {
		pair.hear(chance() % 3 == 0 ? chance() % 4 : chance() % 200);
		pair.replace(chance() % 2, chance() % 3 == 0);
	}
	pair.hear(200);
	pair.end();
	uint64_t answers = 0;
	for (const auto &[session, number] : pair.book.answered)
		answers += number;
	BOOST_TEST(answers > 50);
	BOOST_TEST_MESSAGE(kills << " killed, " << answers << " answers");
}
