// SPDX-License-Identifier: MIT
//
// The driver's streams: one for each direction of each open file (a socket, a pipe's end, a
// terminal, another device) that has requests queued.
//
// An inode is not an open file: all pseudo-terminal masters share one, and so do the ends of a
// pipe, the descriptors of a FIFO opened twice, and every open of many devices. Each request brings
// a descriptor of its own in the driver's table, and the kernel is asked whether it is one of the
// open files that are there (kcmp). Where it does not say, see class Identity. The streams of a
// file share one held descriptor.
//
// All of it belongs to the driver's thread.
#pragma once

#include "base/queue.hpp"
#include "base/reserve.hpp"
#include "request/request.hpp"

namespace sigevec::driver {

struct Stream;
inline Links<Stream> &links_of(Stream *s);
inline Links<Stream> &siblings_of(Stream *s);
inline Links<Request> &links_in_stream(Request *r)
{
	return r->in_stream;
}
using RequestList = List<Request, links_in_stream>;
using SiblingList = List<Stream, siblings_of>;

// A file in the driver's table, as long as a stream needs it.
struct OpenFile {
	OpenFile *next;
	uint64_t dev, ino;
	int number; // by which requests in no order know it, in the program's table; of others any
	Kind kind;
	int flags;
	int file;          // in the helper's table
	uint32_t uses;     // its streams, and who is going through them
	uint32_t reported; // what epoll tells of: each change, once
	uint64_t mark;     // by which epoll names it, never given twice
	OpenFile *next_marked;
	SiblingList streams; // all
	Stream *ordered[2];  // of them that of each direction, if its requests are in an order
};

// When a stream that waits is looked at without having become ready: readiness does not tell of all
// that ends a wait.
struct Clock {
	uint64_t due;   // monotonic, in ns; 0: never
	uint64_t pause; // before the next look
	bool alone;     // it is not waited for in another way: what epoll tells is in vain
	uint8_t vain;   // how often in succession epoll has told of what then did not go
};

struct Stream {
	Links<Stream> links;    // all there are; the closed ones
	Links<Stream> siblings; // of the same file
	OpenFile *open;
	bool read;
	bool busy;     // the first request is with the ring or a worker
	bool armed;    // epoll will tell when the descriptor is ready
	bool missed;   // it has told while the stream was busy
	bool closed;   // emptied; freed when the driver has no event in hand that might name it
	int file;      // open->file
	uint32_t word; // request/stream.hpp
	RequestList requests;
	uint32_t hasty; // how many of them do not wait for their turn
	Clock clock;
};

inline Links<Stream> &links_of(Stream *s)
{
	return s->links;
}

inline Links<Stream> &siblings_of(Stream *s)
{
	return s->siblings;
}

// Whether two descriptors of the driver's table are one open file, or as good as one.
class Identity {
public:
	bool same(const OpenFile &a, int file, const Request *r);

private:
	// Where kcmp is refused. A socket has one file. Of a pipe or FIFO all files with the same
	// flags do the same. Devices are compared by an epoll instance, which knows a file and a
	// number together: what is at the number must be the file that it has seen there.
	bool by_epoll(int a, int b);
	bool usable();
	bool tried_ = false;
	int epoll_ = -1, number_ = -1;
};

class Streams {
public:
	// The stream of r, made if there is none. The file is the stream's from now on, or is
	// closed. nullptr: no memory.
	Stream *make(const Request *r, int file);
	// Takes it out, and closes its file after the last. It may still be named by events in
	// hand: see sweep.
	void close(Stream *s);
	void sweep();

	// What an epoll instance has told of, looked for like a stranger's word: where the helper
	// works in the program's table, a child has the instance. nullptr: there is no such file
	// any more.
	OpenFile *find_marked(uint64_t mark) const;
	void keep(OpenFile *o) { o->uses++; }
	// epoll: where the files that are closed are to be taken out; or -1.
	void let_go(OpenFile *o);
	void set_epoll(int epoll) { epoll_ = epoll; }

	template <class F> void each(F f)
	{
		for (Stream *s = all_.first(); s != nullptr;) {
			Stream *next = all_.after(s);
			f(s);
			s = next;
		}
	}

private:
	static constexpr uint32_t size = 4096;
	static uint32_t slot(uint64_t dev, uint64_t ino, int number);
	OpenFile *find(const Request *r, int file);
	OpenFile *make_file(const Request *r, int file);
	void enter(Stream *s);
	Stream *make_stream(const Request *r, OpenFile *o);

	static uint32_t slot_of_mark(uint64_t mark) { return mark % size; }
	void unlink(OpenFile *o);

	OpenFile *table_[size] = {}, *marked_[size] = {};
	uint64_t marks_ = 0; // 0 is none
	OpenFile *closed_files_ = nullptr;
	List<Stream, links_of> all_, closed_;
	Reserve<OpenFile, 16> file_memory_;
	Reserve<Stream, 16> stream_memory_;
	Identity identity_;
	int epoll_ = -1;
};

// MSG_DONTWAIT: while there is nothing for who is before it, there is nothing for it.
bool is_hasty(const Request *r);
void push_back(Stream *s, Request *r);
void push_front(Stream *s, Request *r);
void take_out(Stream *s, Request *r);

} // namespace sigevec::driver
