/* SPDX-License-Identifier: MIT */
/* The part of http_server that knows HTTP's texts and nothing of files and channels. All of it
 * works in place. */
#ifndef HTTP_REQUEST_H
#define HTTP_REQUEST_H 1

#include <sys/types.h>

struct http_request {
	char *method, *target;
	const char *range; /* of the field Range, or NULL */
	int keep;          /* the connection stays open */
	int if_range;      /* there is a field If-Range */
};

/* Takes a head apart, of which the last field keeps its end of line. NULL, or the status that says
 * what is wrong. */
const char *http_parse(struct http_request *r, char *head);

/* Takes the query off and decodes %XX. 0, or -1: it is no path. */
int http_decode(char *target);

/* "bytes=A-B", "bytes=A-", "bytes=-N". 1: a range; 0: none that is understood, so all of the file;
 * -1: it is outside.
 */
int http_range(const char *text, off_t size, off_t *first, off_t *last);

/* The Content-Type for a path. */
const char *http_type(const char *path);

#endif
