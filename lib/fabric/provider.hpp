// SPDX-License-Identifier: MIT
//
// One endpoint of libfabric's, with what belongs to it. All of it is used by the thread alone
// (fabric/thread.hpp), whose table of descriptors has the provider's.
//
// Asked for: FI_EP_RDM with messages and one-sided transfers, a completion queue with a descriptor
// to wait for. Memory keys as the provider likes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>

namespace sigevec::fabric {

struct Provider {
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_av *av;
	struct fid_cq *cq;
	struct fid_ep *ep;
	int wait_fd; // the completion queue's
};

namespace provider {

struct Address {
	const char *provider, *node, *service; // each may be nullptr
};

// 0 or an errno: then nothing is left of it.
int open(Provider *p, const Address &a);
void close(Provider *p);
// The address that peers send to. 0 or an errno.
int name(const Provider *p, void *name, size_t *length);

// One-sided access to memory. nullptr: *error is an errno.
struct fid_mr *expose(Provider *p, void *memory, size_t size, bool read, bool write, uint64_t key,
		      int *error);
// Where the memory begins for those who use the key.
uint64_t base_of(const Provider *p, const void *memory);

// Of libfabric's, which beside the system's has some of its own.
int errno_of(ssize_t error);
// The same of what was under way to a peer: for a connection that has ended providers have many
// words.
int loss_of(ssize_t error);

} // namespace provider
} // namespace sigevec::fabric
