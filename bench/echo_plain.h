/* SPDX-License-Identifier: MIT */
/* The servers of bench_echo, each in a file of its own. */
#ifndef ECHO_PLAIN_H
#define ECHO_PLAIN_H 1

void serve_aio(int listener);
void serve_uring(int listener);
void serve_uring_multishot(int listener);
void serve_libevent(int listener);
void serve_channel_libevent(int listener); /* of bench_echo_sigevec */

#endif
