// SPDX-License-Identifier: MIT
//
// From an aiocb to a Call: reads the aiocb once, and checks what must fail at once.
#pragma once

#include "request/request.hpp"

namespace sigevec::api {

// 0, or the errno of the call, which the status of the aiocb then says as well.
int read_transfer(struct aiocb *cb, Op op, Call *c);
int read_vector(struct aiocb *cb, Op op, Call *c);

// A transfer that read_transfer or read_vector has checked: its errno, or the submission's.
int start(int error, struct aiocb *cb, Call &c);

// <aio.h> promises the compiler that pointers are never NULL; callers do not keep the promise. The
// compiler knows nothing of the result, so that it can be compared.
template <class T> T *unassumed(T *p)
{
	asm("" : "+r"(p));
	return p;
}

} // namespace sigevec::api

// The functions of the public interface.
#define SIGEVEC_EXPORT extern "C" __attribute__((visibility("default")))
// The name with which programs built for large files call it; on 64-bit systems the same function.
#define SIGEVEC_ALIAS64(type, name, ...)                                                           \
	SIGEVEC_EXPORT __attribute__((alias(#name))) type name##64(__VA_ARGS__)
