// SPDX-License-Identifier: MIT
//
// getaddrinfo_a with SIGEV_EC.
//
// The look-ups are libc's, with its threads, and so are gai_error and gai_suspend. Each request of a list is given to libc on its
// own, because libc forgets the notification of a list of which a request has been cancelled; the list is counted down here.
#pragma once

#include "source/source.hpp"

namespace sigevec::addrinfo {

// 0 or EAI_*, as getaddrinfo_a(GAI_NOWAIT).
int start(struct gaicb *list[], int n, const struct sigevent &e);

// As gai_cancel.
int cancel(struct gaicb *request);

void after_fork();

} // namespace sigevec::addrinfo
