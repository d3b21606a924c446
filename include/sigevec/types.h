/* SPDX-License-Identifier: MIT */
/* The types that libsigevec adds to those of <aio.h> and <signal.h>. */
#ifndef SIGEVEC_TYPES_H
#define SIGEVEC_TYPES_H 1

#include "sigevec/system/aio.h"

#include <signal.h>

/* An event channel: a descriptor of the process (the paper, section 5). */
typedef int ec_t;

/*
 * The channel of a notification, a member of struct sigevent. It shares storage with libc's _tid,
 * as sigev_notify_function does with its neighbours: only one kind of notification is asked for at
 * a time.
 */
#define sigev_ec _sigev_un._tid

#endif
