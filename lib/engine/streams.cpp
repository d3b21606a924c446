// SPDX-License-Identifier: MIT
#include "engine/streams.hpp"

#include "request/stream.hpp"
#include "runtime/syscalls.hpp"

#include <cstdlib>
#include <new>
#include <unistd.h>

namespace sigevec::driver {

Streams::Key Streams::key_of(const Request *r)
{
	if (r->kind == Kind::anonymous || r->op == Op::poll)
		return {~uint64_t{0}, r->index, r->is_read()};
	return {r->dev.load(std::memory_order_relaxed), r->ino.load(std::memory_order_relaxed), r->is_read()};
}

uint32_t Streams::slot(const Key &k)
{
	return static_cast<uint32_t>(((k.ino * 2 + (k.read ? 1 : 0)) * 0x9e3779b97f4a7c15ull ^ k.dev) >> 40) % size;
}

Stream *Streams::find(const Request *r) const
{
	Key k = key_of(r);
	for (Stream *s = table_[slot(k)]; s != nullptr; s = s->next)
		if (s->ino == k.ino && s->dev == k.dev && s->read == k.read)
			return s;
	return nullptr;
}

Stream *Streams::make(const Request *r, int file)
{
	if (Stream *s = find(r)) {
		// Queued behind others: their descriptor serves. Not so if it is of another kind (a FIFO opened twice).
		if (file >= 0)
			sys::close(file);
		return s;
	}
	void *m = malloc(sizeof(Stream));
	if (m == nullptr)
		return nullptr;
	Key k = key_of(r);
	Stream *&head = table_[slot(k)];
	head = new (m) Stream{head,  k.dev, k.ino, k.read, false, false, false, file, r->stream_word(),
			      nullptr, nullptr};
	return head;
}

void Streams::close(Stream *s)
{
	Stream **p = &table_[slot({s->dev, s->ino, s->read})];
	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	if (s->file >= 0)
		sys::close(s->file);
	s->file = -1;
	s->closed = true;
	s->next = closed_;
	closed_ = s;
}

void Streams::sweep()
{
	while (closed_ != nullptr) {
		Stream *next = closed_->next;
		free(closed_);
		closed_ = next;
	}
}

void push_back(Stream *s, Request *r)
{
	r->next.store(nullptr, std::memory_order_relaxed);
	if (s->first == nullptr)
		s->first = r;
	else
		s->last->next.store(r, std::memory_order_relaxed);
	s->last = r;
}

void push_front(Stream *s, Request *r)
{
	r->next.store(s->first, std::memory_order_relaxed);
	if (s->first == nullptr)
		s->last = r;
	s->first = r;
}

Request *take_cancelled(Stream *s)
{
	Request *before = nullptr;
	for (Request *r = s->first; r != nullptr; before = r, r = r->next.load(std::memory_order_relaxed)) {
		if (r->get_state() != State::cancelled || (before == nullptr && s->busy))
			continue;
		Request *after = r->next.load(std::memory_order_relaxed);
		if (before == nullptr)
			s->first = after;
		else
			before->next.store(after, std::memory_order_relaxed);
		if (after == nullptr)
			s->last = before;
		return r;
	}
	return nullptr;
}

Request *pop(Stream *s)
{
	Request *r = s->first;
	s->first = r->next.load(std::memory_order_relaxed);
	return r;
}

} // namespace sigevec::driver
