// SPDX-License-Identifier: MIT
#include "request/message.hpp"

#include "base/syscalls.hpp"

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

template <class F> void each_descriptor(struct msghdr *m, F f)
{
	for (struct cmsghdr *c = m->msg_control != nullptr ? CMSG_FIRSTHDR(m) : nullptr;
	     c != nullptr; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
			for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= c->cmsg_len; i++) {
				int fd;
				memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
				f(fd);
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
