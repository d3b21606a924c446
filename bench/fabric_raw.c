/* SPDX-License-Identifier: MIT */
/* bench_fabric by libfabric's own calls. */
#include "fabric.h"

#include <errno.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { slots = 16, slot_size = 256 };

struct card {
	char name[64];
	size_t length;
	uint64_t key, base;
};

static struct fi_info *info;
static struct fid_fabric *fabric;
static struct fid_domain *domain;
static struct fid_av *av;
static struct fid_cq *cq;
static struct fid_ep *ep;
static struct fid_mr *mr, *local;
static fi_addr_t there;
static struct card neighbour;
static char memory[LARGE], piece[LARGE], incoming[slots][slot_size];
static struct fi_context2 receiving[slots], sending;
static size_t came, ended;

static void check(ssize_t e, const char *what)
{
	if (e == 0)
		return;
	errno = (int)(e < 0 ? -e : e);
	fail(what);
}

static void listen_in(int i)
{
	check(fi_recv(ep, incoming[i], slot_size, NULL, FI_ADDR_UNSPEC, &receiving[i]), "fi_recv");
}

/* Waits for one thing, sleeping if it has to. */
static void take(void)
{
	struct fi_cq_msg_entry e;
	ssize_t n = fi_cq_sread(cq, &e, 1, NULL, 1000);

	if (n == -FI_EAGAIN || n == -FI_EINTR)
		return;
	if (n != 1)
		check(n, "fi_cq_sread");
	if (e.op_context == &sending) {
		ended++;
		return;
	}
	came++;
	listen_in((int)((struct fi_context2 *)e.op_context - receiving));
}

static void find(const char *provider)
{
	struct fi_info *h = fi_allocinfo();
	const char *name = strcmp(provider, "tcp") == 0 ? "tcp;ofi_rxm" : provider;

	h->caps = FI_MSG | FI_RMA;
	h->mode = FI_CONTEXT | FI_CONTEXT2;
	h->ep_attr->type = FI_EP_RDM;
	h->domain_attr->mr_mode = FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
	h->domain_attr->threading = FI_THREAD_DOMAIN;
	h->tx_attr->msg_order = h->rx_attr->msg_order = FI_ORDER_SAS;
	h->fabric_attr->prov_name = strdup(name);
	check(fi_getinfo(FI_VERSION(1, 17), "127.0.0.1", NULL, FI_SOURCE, h, &info), "fi_getinfo");
	fi_freeinfo(h);
}

static void open_endpoint(void)
{
	struct fi_cq_attr c = {.format = FI_CQ_FORMAT_MSG, .wait_obj = FI_WAIT_FD, .size = 4096};
	struct fi_av_attr v = {.type = FI_AV_TABLE};

	check(fi_fabric(info->fabric_attr, &fabric, NULL), "fi_fabric");
	check(fi_domain(fabric, info, &domain, NULL), "fi_domain");
	check(fi_cq_open(domain, &c, &cq, NULL), "fi_cq_open");
	check(fi_av_open(domain, &v, &av, NULL), "fi_av_open");
	check(fi_endpoint(domain, info, &ep, NULL), "fi_endpoint");
	check(fi_ep_bind(ep, &av->fid, 0), "fi_ep_bind");
	check(fi_ep_bind(ep, &cq->fid, FI_TRANSMIT | FI_RECV), "fi_ep_bind");
	check(fi_enable(ep), "fi_enable");
}

static void raw_open(const char *provider, int is_peer)
{
	struct card mine = {.length = sizeof mine.name};

	(void)is_peer;
	find(provider);
	open_endpoint();
	check(fi_getname(&ep->fid, mine.name, &mine.length), "fi_getname");
	check(fi_mr_reg(domain, memory, sizeof memory, FI_REMOTE_READ | FI_REMOTE_WRITE, 0, 1, 0,
			&mr, NULL),
	      "fi_mr_reg");
	check(fi_mr_reg(domain, piece, sizeof piece, FI_READ | FI_WRITE | FI_SEND, 0, 2, 0, &local,
			NULL),
	      "fi_mr_reg");
	mine.key = fi_mr_key(mr);
	mine.base = (info->domain_attr->mr_mode & FI_MR_VIRT_ADDR) != 0 ? (uintptr_t)memory : 0;
	tell(&mine, sizeof mine);
	hear(&neighbour, sizeof neighbour);
	if (fi_av_insert(av, neighbour.name, 1, &there, 0, NULL) != 1)
		fail("fi_av_insert");
	for (int i = 0; i < slots; i++)
		listen_in(i);
}

/* Until the provider takes it, which makes progress meanwhile; and until it has ended. */
#define WHOLE(call)                                                                                \
	do {                                                                                       \
		ssize_t result;                                                                    \
		size_t before = ended;                                                             \
		while ((result = (call)) == -FI_EAGAIN)                                            \
			(void)fi_cq_read(cq, NULL, 0);                                             \
		check(result, #call);                                                              \
		while (ended == before)                                                            \
			take();                                                                    \
	} while (0)

static void raw_send(size_t n)
{
	WHOLE(fi_send(ep, piece, n, fi_mr_desc(local), there, &sending));
}

static void raw_receive(size_t n)
{
	(void)n;
	while (came == 0)
		take();
	came--;
}

static void raw_put(size_t n)
{
	struct iovec v = {piece, n};
	struct fi_rma_iov to = {neighbour.base, n, neighbour.key};
	struct fi_msg_rma m = {.msg_iov = &v,
			       .iov_count = 1,
			       .addr = there,
			       .rma_iov = &to,
			       .rma_iov_count = 1,
			       .context = &sending};

	WHOLE(fi_writemsg(ep, &m, FI_COMPLETION | FI_DELIVERY_COMPLETE));
}

static void raw_get(size_t n)
{
	WHOLE(fi_read(ep, piece, n, fi_mr_desc(local), there, neighbour.base, neighbour.key,
		      &sending));
}

const struct way libfabric = {"libfabric", raw_open, raw_send, raw_receive, raw_put, raw_get};
