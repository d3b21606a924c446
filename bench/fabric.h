/* SPDX-License-Identifier: MIT */
/* The ways of bench_fabric. */
#ifndef BENCH_FABRIC_H
#define BENCH_FABRIC_H

#include <stddef.h>

enum { SMALL = 64, LARGE = 65536 };

struct way {
	const char *name;
	void (*open)(const char *provider, int is_peer);
	void (*send)(size_t n); /* returns when the buffer may be used again */
	void (*receive)(size_t n);
	void (*put)(size_t n); /* or NULL: there is no such thing */
	void (*get)(size_t n);
};

extern const struct way ours, libfabric, tcp_socket;

/* To the other process and from it, for what is not measured. */
void tell(const void *p, size_t n);
void hear(void *p, size_t n);
void fail(const char *what);

#endif
