/* SPDX-License-Identifier: GPL-2.0-only */
/* Trace events: sigevec:sigevec_create, _map, _submit, _complete, _cancel. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM sigevec

#if !defined(SV_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define SV_TRACE_H

#include <linux/tracepoint.h>

TRACE_EVENT(sigevec_create, TP_PROTO(u64 pool, u64 size, u64 blocks), TP_ARGS(pool, size, blocks),
	    TP_STRUCT__entry(__field(u64, pool) __field(u64, size) __field(u64, blocks)),
	    TP_fast_assign(__entry->pool = pool; __entry->size = size; __entry->blocks = blocks;),
	    TP_printk("pool=%llu size=%llu blocks=%llu", __entry->pool, __entry->size,
		      __entry->blocks));

DECLARE_EVENT_CLASS(sigevec_range, TP_PROTO(u64 pool, u64 offset, u64 length),
		    TP_ARGS(pool, offset, length),
		    TP_STRUCT__entry(__field(u64, pool) __field(u64, offset) __field(u64, length)),
		    TP_fast_assign(__entry->pool = pool; __entry->offset = offset;
				   __entry->length = length;),
		    TP_printk("pool=%llu offset=%llu length=%llu", __entry->pool, __entry->offset,
			      __entry->length));

DEFINE_EVENT(sigevec_range, sigevec_map, TP_PROTO(u64 pool, u64 offset, u64 length),
	     TP_ARGS(pool, offset, length));
DEFINE_EVENT(sigevec_range, sigevec_cancel, TP_PROTO(u64 pool, u64 offset, u64 length),
	     TP_ARGS(pool, offset, length));

TRACE_EVENT(sigevec_submit, TP_PROTO(u64 pool, int op, u64 offset, u64 length, bool async),
	    TP_ARGS(pool, op, offset, length, async),
	    TP_STRUCT__entry(__field(u64, pool) __field(u64, offset) __field(u64, length)
				     __field(int, op) __field(bool, async)),
	    TP_fast_assign(__entry->pool = pool; __entry->op = op; __entry->offset = offset;
			   __entry->length = length; __entry->async = async;),
	    TP_printk("pool=%llu %s offset=%llu length=%llu%s", __entry->pool,
		      __entry->op ? "in" : "out", __entry->offset, __entry->length,
		      __entry->async ? " async" : ""));

TRACE_EVENT(sigevec_complete, TP_PROTO(u64 pool, int op, u64 offset, u64 length, long result),
	    TP_ARGS(pool, op, offset, length, result),
	    TP_STRUCT__entry(__field(u64, pool) __field(u64, offset) __field(u64, length)
				     __field(long, result) __field(int, op)),
	    TP_fast_assign(__entry->pool = pool; __entry->op = op; __entry->offset = offset;
			   __entry->length = length; __entry->result = result;),
	    TP_printk("pool=%llu %s offset=%llu length=%llu result=%ld", __entry->pool,
		      __entry->op ? "in" : "out", __entry->offset, __entry->length,
		      __entry->result));

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
