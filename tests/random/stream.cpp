// SPDX-License-Identifier: MIT
#include "stream.hpp"

#include "report.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace calls {

void Stream::has_ends(const std::shared_ptr<OpenFile> (&files)[2])
{
	for (const int end : {0, 1})
		files_[end] = files[end];
}

/// glibc has one queue for a descriptor, whatever the direction, and one for each number.
bool Stream::glibc_can(const Place &place, const OpenFile &file) const
{
	return std::all_of(file.outstanding.begin(), file.outstanding.end(), [&](const auto *r) {
		return r->place.kind == place.kind && r->place.fd == place.fd;
	});
}

/// Whether it is sure to be there still, and to take so much.
static bool waits_for(const Request &read, size_t size)
{
	return !read.file->nonblocking && size <= read.place.size;
}

/// What is sent to an end that is closed and goes with the last read there is determined only
/// if that read takes all of it; a peer that is gone is told at once by a pipe and AF_UNIX.
bool Stream::may_write(const Place &place, const OpenFile &file, const List &list) const
{
	const int reader = 1 - file.end;
	const Flow &flow = flows_[reader];
	if (gone(reader)) {
		pollfd peer{place.fd, 0, 0};
		return sort_ <= Sort::unix_stream && place.size != 0 && poll(&peer, 1, -1) == 1;
	}
	if (closed(reader))
		return list.empty() && flow.idle() && !flow.reads.empty() && place.size != 0 &&
		       waits_for(*flow.reads.front(), place.size);
	// What TCP and terminals have read and not yet freed takes room, for nobody knows how long.
	const bool frees_later = sort_ == Sort::tcp || sort_ == Sort::pty;
	return !file.nonblocking || (!frees_later && list.empty() && flow.would_fit(place.size));
}

bool Stream::prepare(const Place &place, OpenFile &file, const List &list)
{
	if (place.kind == Kind::sync || (is_glibc() && !glibc_can(place, file)))
		return false;
	if (place.kind == Kind::read)
		return file.can_read && (place.size != 0 || sort_ <= Sort::fifo);
	return file.can_write && may_write(place, file, list);
}

void Stream::admitted(Request &r)
{
	r.broken = r.writes() && gone(1 - r.file->end);
	flow_of(r).admit(r);
}

bool Stream::sure_to_end(const Place &place, const OpenFile &file, const List &list) const
{
	const Flow &flow = flows_[1 - file.end];
	return place.kind == Kind::write && flow.writes.empty() && flow.would_fit(place.size) &&
	       std::none_of(list.begin(), list.end(),
			    [&](const auto *other) { return other->file->model.get() == this; });
}

bool Stream::must_end(const Request &r) const
{
	const Flow &flow = flow_of(r);
	return r.reads() ? flow.read_must_end(r, gone(1 - r.file->end)) : flow.write_must_end(r);
}

bool Stream::cannot_end(const Request &r) const
{
	const Flow &flow = flow_of(r);
	return r.reads() ? flow.read_cannot_end(r, closed(1 - r.file->end))
			 : flow.write_cannot_end(r);
}

bool Stream::must_be_canceled(const Request &r) const
{
	const Request *const first = r.reads() ? &r : flow_of(r).writes.front();
	return !is_glibc() && cannot_end(r) && (r.reads() || (first != &r && cannot_end(*first)));
}

void Stream::judge(Request &r)
{
	Flow &flow = flow_of(r);
	const bool canceled = !ended(r);
	if (r.reads())
		flow.judge_read(r, canceled, closed(1 - r.file->end));
	else
		flow.judge_write(r, canceled);
	r.file = nullptr;
}

void Stream::collect(Request &r)
{
	const Flow &flow = flow_of(r);
	const auto &queue = r.reads() ? flow.reads : flow.writes;
	if (!flow.is_nothing(r) && (!r.has_ended() || r.error != ECANCELED))
		while (queue.front() != &r)
			judge(*queue.front());
	judge(r);
}

bool Stream::settle_one(Flow &flow)
{
	for (const auto *const queue : {&flow.reads, &flow.writes}) {
		const auto must = [this](const auto *r) { return must_end(*r); };
		const auto found = std::find_if(queue->begin(), queue->end(), must);
		if (found != queue->end()) {
			judge(**found);
			return true;
		}
	}
	return false;
}

void Stream::settle()
{
	while (settle_one(flows_[0]) || settle_one(flows_[1]))
		;
}

bool Stream::may_close(const OpenFile &file) const
{
	const int other = 1 - file.end;
	if (sort_ == Sort::pty || sort_ == Sort::datagrams)
		return false;
	if (!gone(other) && closed(other))
		return false;
	return flows_[file.end].idle();
}

void Stream::append_outstanding(std::vector<Request *> &to) const
{
	for (const Flow &flow : flows_)
		for (const auto *const queue : {&flow.reads, &flow.writes})
			to.insert(to.end(), queue->begin(), queue->end());
}

void Stream::drain(int end)
{
	std::string buffer(size_t{1} << 18, 0);
	for (settle(); flows_[end].anything() && readers_[end].fd >= 0; settle()) {
		pollfd ready{readers_[end].fd, POLLIN, 0};
		if (poll(&ready, 1, -1) != 1)
			fault("poll ends with errno %d", errno);
		const ssize_t n = read(ready.fd, buffer.data(), buffer.size());
		if (n < 0)
			fault("read ends with errno %d", errno);
		const std::string data = buffer.substr(0, size_t(n));
		say("\ttake(fd[%d], %zd, %#xu);", readers_[end].handle, n, hash(data));
		flows_[end].take(data);
	}
}

void Stream::finish()
{
	for (const int end : {0, 1})
		drain(end);
}

} // namespace calls
