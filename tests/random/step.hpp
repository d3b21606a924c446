// SPDX-License-Identifier: MIT
//
// A sequence of calls as the generator draws it: plain numbers, which are taken modulo what there
// is when a step is carried out. So any part of a sequence is a sequence as well, and can be tried
// on its way to the shortest one that fails.
#ifndef RANDOM_STEP_HPP
#define RANDOM_STEP_HPP

#include <array>
#include <cstdint>
#include <vector>

namespace calls {

enum class Op : uint8_t {
	open_file,
	open_stream,
	reopen,    // another open file of the same inode
	close,     // also with requests outstanding
	duplicate, // dup, or dup2 over the number of another
	set_flags, // O_APPEND of a file, O_NONBLOCK of a stream
	truncate,
	read,
	write,
	sync,
	bad, // what is refused, by the call or by its request
	list,
	cancel,
	cancel_all,
	suspend,
	look,   // what cannot have ended has not
	wait,   // for one request
	settle, // for all that must end
	fork,
};
inline constexpr unsigned ops = unsigned(Op::fork) + 1;

struct Step {
	Op op;
	/// Which handle, how much, where, how it is notified, and whatever the operation needs.
	uint32_t handle, size, offset, notify, extra;
	std::vector<Step> elements; // of a list
};

using Steps = std::vector<Step>;
/// A thread each; a thread has files of its own.
using Sequence = std::vector<Steps>;

/// The same seed gives the same sequence, anywhere.
Sequence generate(uint64_t seed);

} // namespace calls

#endif
