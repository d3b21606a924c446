// SPDX-License-Identifier: MIT
//
// What is before a request on its stream: the part of stream order that submitting threads see.
//
// One word per stream and direction, found by hash: how many requests are with the driver, and
// whether a writer is at work within its call. A request may be attempted within the call only when
// the word is 0. Two streams that share a word only lose such a chance.
#pragma once

#include "request/request.hpp"

#include <atomic>
#include <cstdint>

namespace sigevec::stream {

constexpr uint32_t words = 16384; // for each direction: thousands of waiting reads must not crowd
				  // out what need not wait
// Of a request that is in no order: never claimed, never idle.
constexpr uint32_t no_word = 2 * words;
constexpr uint32_t claimed_bit = 1u << 31;

struct Key {
	uint64_t dev, ino;
	bool read;
};

uint32_t word_of(const Key &k);

// The caller is the first and writes within the call: nobody else's bytes may come between, so the
// driver holds back what it is sent for this word until the claim is given up or handed over.
bool claim(uint32_t word);
// True: others came meanwhile, the driver must be told to look.
bool give_up_claim(uint32_t word);
// By the driver, when it gets the rest of the claimant's write.
void take_over_claim(uint32_t word);
bool claimed(uint32_t word);

// Something is queued: for reads, which need no claim.
bool idle(uint32_t word);
// One more request with the driver, and one less.
void enter(uint32_t word);
void leave(uint32_t word);
// How many there are.
uint32_t entered(uint32_t word);

void after_fork();

} // namespace sigevec::stream
