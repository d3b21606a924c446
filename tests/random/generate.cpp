// SPDX-License-Identifier: MIT
//
// Each sequence prefers other operations, so that what needs many of one kind happens, too.
#include "step.hpp"

#include <random>

namespace calls {

namespace {

using Random = std::mt19937_64;
using Weights = std::array<unsigned, ops>;

uint32_t below(Random &random, uint32_t n)
{
	return uint32_t(random() % n);
}

/// Of Op, in its order.
constexpr Weights usual = {6, 8, 2, 4, 4, 3, 2, 40, 40, 5, 2, 8, 6, 3, 6, 5, 8, 10, 1};

Weights preferences(Random &random)
{
	Weights weights = usual;
	for (unsigned &weight : weights)
		switch (below(random, 6)) {
		case 0:
			weight = 0;
			break;
		case 1:
			weight *= 5;
			break;
		default:
			break;
		}
	for (const Op op : {Op::read, Op::write})
		weights[unsigned(op)] += 10;
	return weights;
}

Op draw(Random &random, const Weights &weights)
{
	unsigned sum = 0;
	for (const unsigned weight : weights)
		sum += weight;
	uint32_t at = below(random, sum);
	unsigned op = 0;
	while (at >= weights[op])
		at -= weights[op++];
	return Op(op);
}

/// In half of the sequences no function is called: then the order of the signals is known.
Step without_functions(Step step)
{
	step.notify -= step.notify % 6 == 5;
	for (Step &element : step.elements)
		element = without_functions(element);
	return step;
}

Step numbers(Random &random, Op op)
{
	return {op,
		uint32_t(random()),
		uint32_t(random()),
		uint32_t(random()),
		uint32_t(random()),
		uint32_t(random()),
		{}};
}

Step step(Random &random, const Weights &weights)
{
	Step drawn = numbers(random, draw(random, weights));
	if (drawn.op == Op::list)
		for (uint32_t i = below(random, 9); i > 0; --i)
			drawn.elements.push_back(
				numbers(random, below(random, 2) == 0 ? Op::read : Op::write));
	return drawn;
}

Steps steps(Random &random)
{
	static constexpr uint32_t lengths[] = {8, 20, 60, 200};
	const Weights weights = preferences(random);
	Steps all;
	for (const Op op : {Op::open_file, Op::open_stream, Op::open_stream})
		all.push_back(numbers(random, op));
	for (uint32_t i = 1 + below(random, lengths[below(random, 4)]); i > 0; --i)
		all.push_back(step(random, weights));
	return all;
}

} // namespace

Sequence generate(uint64_t seed)
{
	Random random(seed);
	Sequence sequence(below(random, 3) == 0 ? 2 + below(random, 3) : 1);
	const bool functions = below(random, 2) == 0;
	for (Steps &of_thread : sequence) {
		of_thread = steps(random);
		for (Step &step : of_thread)
			step = functions ? step : without_functions(step);
	}
	return sequence;
}

} // namespace calls
