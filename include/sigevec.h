/* SPDX-License-Identifier: MIT */
/* libsigevec: everything. See sigevec(7). */
#ifndef SIGEVEC_H
#define SIGEVEC_H 1

#include "sigevec/types.h"

#include "sigevec/aio.h"
#include "sigevec/dma.h"
#include "sigevec/ec.h"
#include "sigevec/ether.h"
#include "sigevec/ev.h"
#include "sigevec/fabric.h"
#include "sigevec/info.h"
#include "sigevec/sio.h"
#include "sigevec/sync.h"

#endif
