// SPDX-License-Identifier: MIT
#include "runner.hpp"

#include <chrono>
#include <utility>

namespace calls {

namespace {

using Clock = std::chrono::steady_clock;

class Shrinking {
public:
	Shrinking(Sequence failing, unsigned seconds)
	    : best_(std::move(failing)), end_(Clock::now() + std::chrono::seconds(seconds))
	{
		unsigned failures = 0;
		for (unsigned i = 0; i < 8; ++i)
			failures += !run(best_, seconds_for_one).empty();
		tries_ = failures == 8 ? 1 : 24 / (failures + 1);
	}
	Sequence result()
	{
		for (bool shorter = true; shorter && !late();) {
			shorter = without_threads() | without_steps();
			for (size_t t = 0; t < best_.size(); ++t)
				simpler(t);
		}
		return best_;
	}

private:
	static constexpr unsigned seconds_for_one = 6 * slowness;

	bool late() const { return Clock::now() > end_; }

	/// Keeps what still fails.
	bool fails(Sequence candidate)
	{
		for (unsigned i = 0; i < tries_ && !late(); ++i)
			if (!run(candidate, seconds_for_one).empty()) {
				best_ = std::move(candidate);
				return true;
			}
		return false;
	}

	bool without_threads()
	{
		bool any = false;
		for (size_t t = 0; best_.size() > 1 && t < best_.size();) {
			Sequence less = best_;
			less.erase(less.begin() + ptrdiff_t(t));
			fails(std::move(less)) ? void(any = true) : void(++t);
		}
		return any;
	}

	bool without_steps()
	{
		bool any = false;
		for (size_t t = 0; t < best_.size(); ++t)
			for (size_t n = best_[t].size() / 2 + 1; n > 0; n /= 2)
				any |= without_parts(t, n);
		return any;
	}
	bool without_parts(size_t t, size_t n)
	{
		bool any = false;
		for (size_t from = 0; from < best_[t].size();) {
			Sequence less = best_;
			const auto first = less[t].begin() + ptrdiff_t(from);
			const size_t left = less[t].size() - from;
			less[t].erase(first, first + ptrdiff_t(left < n ? left : n));
			fails(std::move(less)) ? void(any = true) : void(from += n);
		}
		return any;
	}

	void simpler(size_t t)
	{
		for (size_t i = 0; i < best_[t].size(); ++i) {
			while (!best_[t][i].elements.empty()) {
				Sequence less = best_;
				less[t][i].elements.pop_back();
				if (!fails(std::move(less)))
					break;
			}
			for (uint32_t Step::*const number :
			     {&Step::notify, &Step::offset, &Step::size}) {
				Sequence less = best_;
				less[t][i].*number = 0;
				if (best_[t][i].*number != 0)
					fails(std::move(less));
			}
		}
	}

	Sequence best_;
	Clock::time_point end_;
	unsigned tries_;
};

} // namespace

Sequence shrink(Sequence failing, unsigned seconds)
{
	return Shrinking(std::move(failing), seconds).result();
}

} // namespace calls
