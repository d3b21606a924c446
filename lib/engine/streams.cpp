// SPDX-License-Identifier: MIT
#include "engine/streams.hpp"

#include "base/descriptor.hpp"
#include "base/memory_order.hpp"
#include "base/same_file.hpp"
#include "base/syscalls.hpp"
#include "base/thread_id.hpp"
#include "request/stream.hpp"
#include "runtime/copies.hpp"
#include "runtime/helper.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <new>
#include <sys/epoll.h>
#include <unistd.h>

namespace sigevec::driver {

// ---- which file it is ----

// In the helper's table the number is out of the way of others, which get the lowest; only where
// the table is its own.
bool Identity::usable()
{
	if (!tried_) {
		tried_ = true;
		if (helper::own_helper()->private_table() &&
		    (epoll_ = epoll_create1(EPOLL_CLOEXEC)) >= 0)
			number_ = sys::duplicate(epoll_, 0);
	}
	return number_ >= 0;
}

bool Identity::by_epoll(int a, int b)
{
	if (!usable())
		return false;
	struct epoll_event none = {};
	bool same = false;
	if (dup3(a, number_, O_CLOEXEC) >= 0 &&
	    epoll_ctl(epoll_, EPOLL_CTL_ADD, number_, &none) == 0) {
		same = dup3(b, number_, O_CLOEXEC) >= 0 &&
		       epoll_ctl(epoll_, EPOLL_CTL_ADD, number_, &none) != 0 && errno == EEXIST;
		epoll_ctl(epoll_, EPOLL_CTL_DEL, number_, nullptr);
		dup3(a, number_, O_CLOEXEC);
		epoll_ctl(epoll_, EPOLL_CTL_DEL, number_, nullptr);
	}
	// The number is kept by a file that nobody misses.
	dup3(epoll_, number_, O_CLOEXEC);
	return same;
}

bool Identity::same(const OpenFile &a, int file, const Request *r)
{
	pid_t self = thread_id();
	Same s = same_file(self, a.file, self, file);
	if (s != Same::unknown)
		return s == Same::yes;
	if (a.kind == Kind::socket)
		return true;
	return a.kind == Kind::fifo ? a.flags == r->flags : by_epoll(a.file, file);
}

// ---- files ----

uint32_t Streams::slot(uint64_t dev, uint64_t ino, int number)
{
	return static_cast<uint32_t>((ino * 0x9e3779b97f4a7c15ull ^ dev ^
				      static_cast<uint64_t>(number) * 0xc2b2ae3d27d4eb4full) >>
				     40) %
	       size;
}

namespace {

// -1: requests in an order find their file by any number. Others are each a stream of their own,
// and share what holds the file if they came by the same number.
int number_of(const Request *r)
{
	return r->has_no_turn() ? r->fd.load(mo::relaxed) : -1;
}

} // namespace

OpenFile *Streams::find(const Request *r, int file)
{
	uint64_t dev = r->dev.load(mo::relaxed), ino = r->ino.load(mo::relaxed);
	int number = number_of(r);
	for (OpenFile *o = table_[slot(dev, ino, number)]; o != nullptr; o = o->next)
		if (o->ino == ino && o->dev == dev && o->number == number && o->kind == r->kind &&
		    identity_.same(*o, file, r))
			return o;
	return nullptr;
}

OpenFile *Streams::make_file(const Request *r, int file)
{
	if (OpenFile *o = find(r, file)) {
		copies::close(file);
		return o;
	}
	void *m = file_memory_.take();
	if (m == nullptr)
		return nullptr;
	uint64_t dev = r->dev.load(mo::relaxed), ino = r->ino.load(mo::relaxed);
	int number = number_of(r);
	OpenFile *&head = table_[slot(dev, ino, number)];
	OpenFile *&marked = marked_[slot_of_mark(++marks_)];
	head = new (m) OpenFile{head, dev, ino,    number, r->kind, r->flags,          file,
				0,    0,   marks_, marked, {},      {nullptr, nullptr}};
	marked = head;
	return head;
}

OpenFile *Streams::find_marked(uint64_t mark) const
{
	OpenFile *o = marked_[slot_of_mark(mark)];
	while (o != nullptr && o->mark != mark)
		o = o->next_marked;
	return o;
}

void Streams::unlink(OpenFile *o)
{
	OpenFile **p = &table_[slot(o->dev, o->ino, o->number)];
	while (*p != o)
		p = &(*p)->next;
	*p = o->next;
	p = &marked_[slot_of_mark(o->mark)];
	while (*p != o)
		p = &(*p)->next_marked;
	*p = o->next_marked;
}

void Streams::let_go(OpenFile *o)
{
	if (--o->uses != 0)
		return;
	unlink(o);
	// The program still has the file open: closing this descriptor would not take it out of the
	// epoll set.
	if (epoll_ >= 0 && o->reported != 0)
		epoll_ctl(epoll_, EPOLL_CTL_DEL, o->file, nullptr);
	copies::close(o->file);
	o->next = closed_files_;
	closed_files_ = o;
}

// ---- streams ----

void Streams::enter(Stream *s)
{
	all_.push_front(s);
	s->open->streams.push_front(s);
	keep(s->open);
}

Stream *Streams::make_stream(const Request *r, OpenFile *o)
{
	void *m = stream_memory_.take();
	if (m == nullptr)
		return nullptr;
	auto *s = new (m) Stream{};
	s->open = o;
	s->read = r->is_read();
	s->file = o->file;
	s->word = r->stream_word();
	enter(s);
	if (!r->has_no_turn())
		o->ordered[s->read] = s;
	return s;
}

Stream *Streams::make(const Request *r, int file)
{
	OpenFile *o = make_file(r, file);
	if (o == nullptr) {
		copies::close(file);
		return nullptr;
	}
	keep(o);
	Stream *s = r->has_no_turn() ? nullptr : o->ordered[r->is_read()];
	if (s == nullptr)
		s = make_stream(r, o);
	let_go(o);
	return s;
}

void Streams::close(Stream *s)
{
	all_.remove(s);
	OpenFile *o = s->open;
	o->streams.remove(s);
	if (o->ordered[s->read] == s)
		o->ordered[s->read] = nullptr;
	let_go(o);
	s->file = -1;
	s->closed = true;
	closed_.push(s);
}

void Streams::sweep()
{
	while (Stream *s = closed_.first()) {
		closed_.remove(s);
		stream_memory_.give_back(s);
	}
	while (OpenFile *o = closed_files_) {
		closed_files_ = o->next;
		file_memory_.give_back(o);
	}
}

bool is_hasty(const Request *r)
{
	return is_socket_call(r->op) && r->nonblocking();
}

void push_back(Stream *s, Request *r)
{
	r->stream = s;
	s->hasty += is_hasty(r) ? 1 : 0;
	s->requests.push(r);
}

void push_front(Stream *s, Request *r)
{
	r->stream = s;
	s->hasty += is_hasty(r) ? 1 : 0;
	s->requests.push_front(r);
}

void take_out(Stream *s, Request *r)
{
	s->requests.remove(r);
	s->hasty -= is_hasty(r) ? 1 : 0;
	r->stream = nullptr;
}

} // namespace sigevec::driver
