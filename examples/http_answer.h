/* SPDX-License-Identifier: MIT */
/* What the HTTP servers answer: the file, the range, the status. It knows nothing of how an answer
 * gets to the client. */
#ifndef HTTP_ANSWER_H
#define HTTP_ANSWER_H 1

#include "http_request.h"

struct http_answer {
	const char *status;
	char fields[256]; /* further ones, each with its end of line */
	int keep;         /* the connection stays open */
	int text;         /* the status is the body, too */
	int file;         /* the body is in there, or -1 */
	off_t offset, left, length;
};

/* Looks for the answer to a request below the folder `root'; wrong: the status, if it is no
 * request. Opens a->file. */
void http_answer(struct http_answer *a, struct http_request *r, const char *wrong, int root);

/* The head, and a body that is no file. At most 1,024 bytes; returns how many. */
size_t http_write_head(const struct http_answer *a, char *out);

#endif
