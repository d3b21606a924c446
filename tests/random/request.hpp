// SPDX-License-Identifier: MIT
//
// A request of a sequence, from its submission to its end, with what no model is needed to judge:
// the status comes before the notification, that comes once, memory beside the buffer is nobody's.
#ifndef RANDOM_REQUEST_HPP
#define RANDOM_REQUEST_HPP

#include <aio.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace calls {

/// glibc's own AIO is judged by the same model. It gets nothing that it is known to do wrong.
bool is_glibc();

enum class Notify : unsigned { none, signal, thread };
enum class Kind : unsigned { read, write, sync };

/// What is told when a request ends, or a list of them.
struct Told {
	std::atomic<unsigned> times{0};
	std::atomic<bool> early{false};  // something of it had not ended
	std::vector<const aiocb *> of;   // what has ended before
	std::vector<const Told *> after; // what is told before, by the same signal
	void look();
};
/// As the number of a step says; one in six is a function.
Notify notification(uint32_t number);
sigevent telling(Notify notify, Told &told);
void wait_until_told(const Told &told, Notify notify);

struct OpenFile;

struct Place {
	Kind kind;
	int fd, handle; // handle: its name in the C program
	size_t size;
	off_t offset;
	int priority;
	Notify notify;
	unsigned shift; // of the buffer, from the start of a page
};

/// Belongs to one thread of the sequence; others only tell it.
struct Request {
	unsigned slot; // in the C program
	aiocb cb;
	std::unique_ptr<char[]> memory;
	size_t memory_size;
	char *buffer;
	Place place;
	Told told;
	std::shared_ptr<OpenFile> file;
	size_t sure;          // of a read: so much at least
	uint32_t serial;      // of a write: what its payload is made of
	unsigned lists;       // that look at it yet
	bool broken;          // a write that nobody can read
	bool may_be_canceled; // aio_cancel has been called, and could have reached it
	bool collected = false;
	int error;
	ssize_t result;

	Request() = default;
	std::string data() const { return {buffer, size_t(result > 0 ? result : 0)}; }
	std::string payload() const { return {buffer, place.size}; }
	bool reads() const { return place.kind == Kind::read; }
	bool writes() const { return place.kind == Kind::write; }
	/// The status as it is now.
	bool has_ended();
	/// Waits for the end and for what is told of it; looks at status and memory.
	void collect();
};

/// The requests of one thread. They are never freed, but serve again.
class Requests {
public:
	/// Filled in, not yet submitted.
	Request &prepare(const Place &place, bool serve_again);
	/// At the end: whoever has ended has been told of, once.
	void all_are_told() const;

private:
	std::vector<std::unique_ptr<Request>> all_;
	uint32_t serial_ = 0;
	void take_memory(Request &request);
};

/// -1 with errno, or 0; it is in the C program with that.
int submit(Request &request);
/// The call of the C program that fills in a request.
std::string described(const Request &request);

uint32_t hash(const std::string &text);
/// Takes the signals of all requests. Before any thread of a sequence is made: they block them.
void start_receiver();

} // namespace calls

#endif
