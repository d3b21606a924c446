// SPDX-License-Identifier: MIT
//
// A sequence in a process of its own, which may hang, crash or find that something is wrong.
#ifndef RANDOM_RUNNER_HPP
#define RANDOM_RUNNER_HPP

#include "step.hpp"

#include <string>

namespace calls {

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
inline constexpr unsigned slowness = 4;
#else
inline constexpr unsigned slowness = 1;
#endif
/// Only for what hangs; SIGEVEC_HANG_SECONDS when one looks for the cause.
unsigned seconds_until_hung();

/// What was wrong with it; empty if nothing was.
std::string run(const Sequence &sequence, unsigned seconds = seconds_until_hung());

/// The shortest sequence that fails the same way, found within that time.
Sequence shrink(Sequence failing, unsigned seconds);

/// What ran last, as a program in C that does the same calls and stops at the first wrong answer.
std::string c_program(const std::string &what);

} // namespace calls

#endif
