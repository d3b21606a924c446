/* SPDX-License-Identifier: MIT */
/*
 * What the echo servers of the benchmark share. A server echoes what it receives, a message of 64
 * bytes as a rule, and counts. echo_server.c has main; a program gives it a table of servers.
 */
#ifndef ECHO_H
#define ECHO_H 1

#include <stddef.h>

enum {
	echo_message = 64,   /* what a connection has room for */
	echo_batch = 256,    /* events taken at once, by all who can take many */
	echo_backlog = 4096, /* of the listening socket */
};

struct echo_server {
	const char *name;
	void (*serve)(int listener); /* does not return */
};

/* What the program offers; ends with a NULL name. */
extern const struct echo_server echo_servers[];

/* Messages echoed; read by the report, which a signal asks for. */
extern volatile unsigned long echoed;

/* A connection, as most servers keep it. */
struct connection {
	int fd;
	int sending;
	char data[echo_message];
};

struct connection *echo_connection(int fd);
void echo_close(struct connection *c);
void echo_die(const char *what, int error);

/* echo_require: end the program when error, an errno or 0, is not 0. */
static inline void echo_require(int good, const char *what, int error)
{
	if (!good)
		echo_die(what, error);
}

#endif
