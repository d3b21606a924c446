// SPDX-License-Identifier: MIT
//
// What channel.cpp (the life of a channel) and admission.cpp (its credits) share.
#pragma once

#include "base/by_descriptor.hpp"
#include "channel/channel.hpp"
#include "channel/queue.hpp"

namespace sigevec::channel {

// What Channel::life is made of.
constexpr uint64_t one_event = 1;
constexpr uint64_t one_reference = uint64_t{1} << 32;

inline uint32_t admitted(uint64_t life)
{
	return static_cast<uint32_t>(life);
}

extern ByDescriptor<Channel> table;

} // namespace sigevec::channel
