// SPDX-License-Identifier: MIT
#include "request/message.hpp"

#include "base/syscalls.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <sys/socket.h>
#include <sys/stat.h>

namespace sigevec::message {

void fill_caller(const Message *m)
{
	if (m->result == nullptr)
		return;
	m->result->msg_namelen = m->header.msg_namelen;
	m->result->msg_controllen = m->header.msg_controllen;
	m->result->msg_flags = m->header.msg_flags;
}

namespace {

bool brings_descriptors(const struct cmsghdr &c)
{
	constexpr int pidfd = 4; // SCM_PIDFD, Linux 6.5; older headers lack it
	return c.cmsg_level == SOL_SOCKET && (c.cmsg_type == SCM_RIGHTS || c.cmsg_type == pidfd);
}

// The memory is the program's, who may have given it to others as well: each header is read once,
// and its length cut to what there is.
template <class F> void each_descriptor(const struct msghdr *m, F f)
{
	auto *at = static_cast<const char *>(m->msg_control);
	size_t left = at != nullptr ? m->msg_controllen : 0;
	struct cmsghdr c;
	while (left >= sizeof c) {
		memcpy(&c, at, sizeof c);
		size_t length = std::min(static_cast<size_t>(c.cmsg_len), left);
		if (length < sizeof c)
			return;
		for (size_t i = 0;
		     brings_descriptors(c) && CMSG_LEN((i + 1) * sizeof(int)) <= length; i++) {
			int fd;
			memcpy(&fd, at + CMSG_LEN(i * sizeof fd), sizeof fd);
			f(fd);
		}
		size_t step = std::min(CMSG_ALIGN(length), left);
		at += step;
		left -= step;
	}
}

} // namespace

void note_received(Message *m)
{
	unsigned n = 0;
	each_descriptor(&m->header, [&](int) { n++; });
	if (n == 0 || m->received != nullptr)
		return;
	m->received =
		static_cast<Received *>(malloc(sizeof(Received) + n * sizeof m->received->v[0]));
	if (m->received == nullptr)
		return;
	m->received->count = 0;
	each_descriptor(&m->header, [m, n](int fd) {
		struct stat st;
		Received *v = m->received;
		if (v->count < n && sys::fstat(fd, &st) == 0)
			v->v[v->count++] = {fd, st.st_dev, st.st_ino};
	});
}

void close_received(Message *m)
{
	struct stat st;
	for (unsigned i = 0; m->received != nullptr && i < m->received->count; i++) {
		const auto &v = m->received->v[i];
		if (sys::fstat(v.fd, &st) == 0 && st.st_dev == v.dev && st.st_ino == v.ino)
			sys::close(v.fd);
	}
}

} // namespace sigevec::message
