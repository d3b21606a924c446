// SPDX-License-Identifier: MIT
//
// What endpoints say to each other, in messages of the provider's: a header, and for some of them
// what stands behind it. Both sides are of one byte order; what comes from outside is believed only
// as far as it has been checked.
//
// Two endpoints that know each other have a session: each has the other's life, a number by chance
// that tells an endpoint from one that had its address before. A session begins with `hello', which
// `welcome' answers, and ends when one of them loses the other: a message of a session that there
// is not is answered by `reset'.
//
// Room: `granted' says how many messages of data the other side may have sent in all since the
// session began. More of it comes when the program has received some. What is not data is not
// counted; there is never more of it under way than a few for each peer and key.
//
// Keys: who has one asks the owner whether it is valid before its first transfer by it, since
// providers answer a wrong one by ending the connection. Before the owner withdraws a key it tells
// those who have asked, and waits until they have ended what they have under way.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sigevec::fabric {

constexpr uint32_t magic = 0x31667673;
constexpr size_t most_name = 64;

enum class Kind : uint8_t {
	hello = 1, // number: of this attempt
	welcome,
	data, // number: of the message in its session, from 1 on
	credit,
	ping,
	pong,   // number: of the messages of data that have come, in the session
	reset,  // number: the life of the receiver's peer that the sender is not, or no longer
	ask,    // behind it a key. number: the question's
	answer, // number: the same; result: an errno or 0
	revoke, // behind it a key. number: the withdrawal's
	revoked // number: the same
};

struct Header {
	uint32_t magic;
	Kind kind;
	uint8_t name_length;
	uint16_t unused;
	uint64_t from_life, to_life; // to_life: 0 in a hello
	uint32_t size;               // bytes behind this
	uint32_t largest;            // message of data that the sender takes
	uint64_t granted, number;
	uint32_t result;
	uint32_t also_unused[3];
	unsigned char name[most_name]; // the sender's address
};
static_assert(sizeof(Header) == 128);

// What a dma_key_t holds.
struct Key {
	uint64_t life; // of the owner
	uint64_t mr;   // the provider's key
	uint64_t base; // where it begins, for the provider
	uint64_t size;
	uint32_t rights;
	uint32_t index;
	uint64_t secret[3];
};
static_assert(sizeof(Key) == 64);

} // namespace sigevec::fabric
