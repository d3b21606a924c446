// SPDX-License-Identifier: MIT
//
// inject [OPTION...] [SCENARIO...]: every system call that the library makes in a scenario fails.
//
// A scenario is run once to count: which calls the library makes, from which of its places, how
// often. Then once more for each place, for its first, second and last call, and for each error
// that the call may give: that call fails, or all of that number do from then on. A filter of the
// scenario's hands each call of the library's over to this program (seccomp_unotify(2)), which lets
// it go on or answers in the kernel's place, so it has not been carried out. Calls of the
// scenario's own are not hit: their instruction, or their caller, is in the scenario's code.
//
// Not injected: what the kernel cannot refuse (futex wakes, munmap, close, what libc does for
// itself at the start of a thread), and for waiting calls EINTR and EAGAIN for ever: after 20 the
// call goes on, for a kernel that says so for ever does not exist.
//
// --all            every injection and not a sample
// --seconds N      a sample that takes about so long; --seed S: this one again
// --only PATTERN   injections whose name, as a report gives it, has this (a regular expression)
// --limit N        seconds after which a scenario counts as hung (20). Only those count in which
//                  none of its threads ran or stood in a queue for a processor, nor the kernel's
//                  that deliver packets, up to six times as many: a loaded machine makes nothing
//                  hang
// --part I/N       every Nth injection
#ifdef __x86_64__
#include "inject.hpp"

#include "../contract/seed.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace faults {

using Clock = std::chrono::steady_clock;

struct Options {
	bool all = false;
	unsigned seconds = 60, limit = 20;
	unsigned long seed = 0;
	std::string only;
	unsigned part = 0, parts = 1;
	std::vector<std::string> scenarios;
};

static std::string program;
static std::map<std::string, Verdict> clean;

static std::multiset<std::string> words(const std::string &list)
{
	std::istringstream stream(list);
	std::multiset<std::string> all;
	for (std::string w; stream >> w;)
		all.insert(w);
	return all;
}

/// The words that the first list has and the second has not.
static std::vector<std::string> more(const std::string &list, const std::string &than)
{
	const std::multiset<std::string> x = words(list), y = words(than);
	std::vector<std::string> v;
	std::set_difference(x.begin(), x.end(), y.begin(), y.end(), std::back_inserter(v));
	return v;
}

static Verdict tried(const Injection &i, unsigned limit)
{
	const Verdict &c = clean[i.scenario];
	Verdict v = run_scenario(program.c_str(), i, limit, i.turn == 0 ? nullptr : &c);
	if (i.turn == 0 || v.hits == 0)
		return v;
	for (const std::string &w : v.hung ? std::vector<std::string>{} : more(v.left, c.left))
		if (std::string(ways(i)).find(w) == std::string::npos)
			v.wrong.push_back("left open: " + w);
	if (!v.hung && v.threads > most_threads(c))
		v.wrong.push_back(std::to_string(v.threads) + " threads left");
	return v;
}

static bool report(const Injection &i, const Verdict &v)
{
	for (const std::string &w : v.wrong)
		printf("%s\t%s\n", i.name().c_str(), w.c_str());
	fflush(stdout);
	return v.wrong.empty();
}

static std::vector<std::string> all_scenarios()
{
	std::vector<std::string> v;
	FILE *f = popen(program.c_str(), "r");
	char line[100];
	while (f != nullptr && fgets(line, sizeof line, f) != nullptr)
		v.emplace_back(line, strcspn(line, "\n"));
	if (f != nullptr)
		pclose(f);
	return v;
}

/// What is to be injected into a scenario, by what it has been seen to call. Three countings: what
/// depends on the threads' schedule, also of what is left in the end, is not seen each time.
static std::vector<Injection> planned(const std::string &scenario, unsigned limit, bool &good)
{
	std::vector<Injection> plan;
	std::map<Place, unsigned> counted;
	for (unsigned i = 0; i < 3; i++) {
		const Injection count{scenario};
		Verdict v = tried(count, limit);
		good = report(count, v) && good;
		for (auto [place, n] : v.counted)
			counted[place] = std::max(counted[place], n);
		Verdict &c = clean[scenario];
		for (const std::string &w : more(v.left, c.left))
			c.left += w + " ";
		c.threads = std::max(c.threads, v.threads);
	}
	for (auto [place, n] : counted)
		for (unsigned turn : std::set<unsigned>{1, std::min(2u, n), n})
			for (int e : errors_of(place.number))
				for (bool onwards : {false, true})
					if (turn == 1 || !onwards)
						plan.push_back({scenario, place, turn, e, onwards});
	return plan;
}

/// Of a sample a third of the scenarios, which leaves more time for each.
static std::vector<std::string> chosen(const Options &o)
{
	if (!o.scenarios.empty())
		return o.scenarios;
	std::vector<std::string> v = all_scenarios();
	if (o.all || !o.only.empty())
		return v;
	std::shuffle(v.begin(), v.end(), std::mt19937_64(o.seed));
	v.resize((v.size() + 2) / 3);
	return v;
}

static int run(const Options &o)
{
	printf("seed %lu\n", o.seed);
	bool good = true;
	std::vector<Injection> plan;
	for (const std::string &s : chosen(o)) {
		std::vector<Injection> p = planned(s, o.limit, good);
		plan.insert(plan.end(), p.begin(), p.end());
	}
	if (!o.only.empty())
		std::erase_if(plan, [only = std::regex(o.only)](const Injection &i) {
			return !std::regex_search(i.name(), only);
		});
	if (!o.all && o.only.empty())
		std::shuffle(plan.begin(), plan.end(), std::mt19937_64(o.seed));
	if (plan.empty()) {
		puts("there is nothing to inject: are the scenarios built?");
		return 99;
	}
	const auto end = Clock::now() + std::chrono::seconds(o.seconds);
	unsigned done = 0, hit = 0, flagged = 0;
	for (size_t n = o.part; n < plan.size() && (o.all || !o.only.empty() || Clock::now() < end);
	     n += o.parts) {
		const Verdict v = tried(plan[n], o.limit);
		done++;
		hit += v.hits != 0;
		flagged += !report(plan[n], v);
	}
	printf("%u of %zu injections, %u came to be, %u flagged\n", done, plan.size(), hit,
	       flagged);
	return flagged != 0 || !good;
}

} // namespace faults

int main(int argc, char **argv)
{
	faults::Options o;
	o.seed = contract::seed_of_the_day();
	std::string self = argv[0];
	faults::program = self.substr(0, self.rfind('/') + 1) + "scenarios";
	for (int i = 1; i < argc; i++) {
		const std::string a = argv[i];
		const char *const value = i + 1 < argc ? argv[i + 1] : "";
		if (a == "--all")
			o.all = true;
		else if (a == "--seconds")
			o.seconds = unsigned(atoi(value)), i++;
		else if (a == "--seed")
			o.seed = strtoul(value, nullptr, 0), i++;
		else if (a == "--only")
			o.only = value, i++;
		else if (a == "--limit")
			o.limit = unsigned(atoi(value)), i++;
		else if (a == "--part")
			sscanf(value, "%u/%u", &o.part, &o.parts), i++;
		else
			o.scenarios.push_back(a);
	}
	return faults::run(o);
}

#else

#include <cstdio>

int main()
{
	puts("the numbers of system calls are those of x86-64");
	return 77;
}

#endif
