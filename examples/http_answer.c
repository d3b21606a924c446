/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1

#include "http_answer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Opens a regular file below the folder, one name after the other, so that neither ".." nor a
 * symbolic link leads out: both are refused. Returns the descriptor, or -1 with errno.
 */
static int open_below(int root, char *path, struct stat *status)
{
	int folder = dup(root), fd = -1;
	char *rest = path, *name = strsep(&rest, "/");

	while (folder >= 0 && rest) { /* name is a folder; the first one is empty */
		int next = -1;

		if (strcmp(name, "..") == 0)
			errno = ENOENT;
		else
			next = openat(folder, *name ? name : ".",
				      O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close(folder);
		folder = next;
		name = strsep(&rest, "/");
	}
	if (folder < 0)
		return -1;
	fd = openat(folder, *name ? name : "index.html",
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC); /* a FIFO may be there */
	close(folder);
	if (fd >= 0 && (fstat(fd, status) != 0 || !S_ISREG(status->st_mode))) {
		close(fd);
		fd = -1;
		errno = ENOENT;
	}
	return fd;
}

static const char *open_failed(int error)
{
	return error == EACCES                      ? "403 Forbidden"
	       : error == EMFILE || error == ENFILE ? "503 Service Unavailable"
						    : "404 Not Found";
}

static void say(struct http_answer *a, const char *status, int with_body)
{
	a->status = status;
	a->text = with_body;
	a->length = (off_t)strlen(status) + 1;
}

static void answer_file(struct http_answer *a, const struct http_request *r, int head_only,
			int root)
{
	struct stat status;
	const char *type;
	off_t first = 0, last;
	int kind = 0, n;

	if (http_decode(r->target) != 0) {
		say(a, "400 Bad Request", !head_only);
		return;
	}
	type = http_type(r->target);
	a->file = open_below(root, r->target, &status);
	if (a->file < 0) {
		say(a, open_failed(errno), !head_only);
		return;
	}
	if (r->range && !r->if_range && !head_only)
		kind = http_range(r->range, status.st_size, &first, &last);
	if (kind < 0) {
		close(a->file);
		a->file = -1;
		snprintf(a->fields, sizeof a->fields, "Content-Range: bytes */%lld\r\n",
			 (long long)status.st_size);
		say(a, "416 Range Not Satisfiable", 1);
		return;
	}
	if (kind == 0)
		first = 0, last = status.st_size - 1;
	n = snprintf(a->fields, sizeof a->fields, "Content-Type: %s\r\nAccept-Ranges: bytes\r\n",
		     type);
	if (kind > 0)
		snprintf(a->fields + n, sizeof a->fields - (size_t)n,
			 "Content-Range: bytes %lld-%lld/%lld\r\n", (long long)first,
			 (long long)last, (long long)status.st_size);
	a->status = kind ? "206 Partial Content" : "200 OK";
	a->length = last - first + 1;
	a->offset = first;
	a->left = head_only ? 0 : a->length;
}

void http_answer(struct http_answer *a, struct http_request *r, const char *wrong, int root)
{
	int head_only = !wrong && strcmp(r->method, "HEAD") == 0;

	memset(a, 0, sizeof *a);
	a->file = -1;
	a->keep = !wrong && r->keep;
	if (wrong) {
		say(a, wrong, 1);
	} else if (head_only || strcmp(r->method, "GET") == 0) {
		answer_file(a, r, head_only, root);
	} else {
		strcpy(a->fields, "Allow: GET, HEAD\r\n");
		say(a, "405 Method Not Allowed", 1);
	}
}

size_t http_write_head(const struct http_answer *a, char *out)
{
	int n = snprintf(out, 1024, "HTTP/1.1 %s\r\nContent-Length: %lld\r\n%s%s\r\n%s%s",
			 a->status, (long long)a->length, a->fields,
			 a->keep ? "" : "Connection: close\r\n", a->text ? a->status : "",
			 a->text ? "\n" : "");

	return (size_t)n;
}
