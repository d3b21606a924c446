/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1

#include "http_request.h"

#include <stdlib.h>
#include <string.h>

struct fields {
	int host, body;
	const char *connection;
};

static int parse_field(struct http_request *r, struct fields *f, char *line)
{
	char *value = strchr(line, ':');
	size_t length = strcspn(line, " \t:");

	if (value == NULL || value != line + length || length == 0)
		return 0;
	*value++ = 0;
	value += strspn(value, " \t");
	for (size_t n = strlen(value); n > 0 && strchr(" \t", value[n - 1]); n--)
		value[n - 1] = 0;
	if (strcasecmp(line, "Host") == 0)
		f->host = 1;
	else if (strcasecmp(line, "Connection") == 0)
		f->connection = value;
	else if (strcasecmp(line, "Transfer-Encoding") == 0 ||
		 (strcasecmp(line, "Content-Length") == 0 && strcmp(value, "0") != 0))
		f->body = 1;
	else if (strcasecmp(line, "Range") == 0)
		r->range = value;
	else if (strcasecmp(line, "If-Range") == 0)
		r->if_range = 1;
	return 1;
}

const char *http_parse(struct http_request *r, char *head)
{
	static const char bad[] = "400 Bad Request";
	struct fields f = {0, 0, NULL};
	char *rest = head, *line = strsep(&rest, "\n");
	int newer;

	memset(r, 0, sizeof *r);
	line[strcspn(line, "\r")] = 0;
	r->method = strsep(&line, " ");
	r->target = strsep(&line, " "); /* the version remains */
	if (r->target == NULL || line == NULL || strncmp(line, "HTTP/", 5) != 0)
		return bad;
	newer = strcmp(line, "HTTP/1.1") == 0;
	if (!newer && strcmp(line, "HTTP/1.0") != 0)
		return "505 HTTP Version Not Supported";
	while ((line = strsep(&rest, "\n"))) {
		line[strcspn(line, "\r")] = 0;
		if (*line && !parse_field(r, &f, line))
			return bad;
	}
	if (f.body || (newer && !f.host))
		return bad;
	r->keep = newer ? !f.connection || !strcasestr(f.connection, "close")
			: f.connection && strcasestr(f.connection, "keep-alive");
	return NULL;
}

static int hex(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

int http_decode(char *target)
{
	char *to = target;

	target[strcspn(target, "?#")] = 0;
	for (const char *from = target; *from; from++) {
		if (*from != '%') {
			*to++ = *from;
			continue;
		}
		int high = hex(from[1]), low = high < 0 ? -1 : hex(from[2]);

		if (low < 0 || (high == 0 && low == 0))
			return -1;
		*to++ = (char)(high << 4 | low);
		from += 2;
	}
	*to = 0;
	return *target == '/' ? 0 : -1;
}

static int digits(const char **s, long long *value)
{
	char *end;

	if (**s < '0' || **s > '9')
		return 0;
	*value = strtoll(*s, &end, 10); /* too large: the largest there is, which will do */
	*s = end;
	return 1;
}

int http_range(const char *s, off_t size, off_t *first, off_t *last)
{
	long long a, b;

	if (strncasecmp(s, "bytes=", 6) != 0)
		return 0;
	s += 6;
	*last = size - 1;
	if (*s == '-') {
		s++;
		if (!digits(&s, &b) || *s)
			return 0;
		*first = b < size ? size - b : 0;
		return b == 0 || size == 0 ? -1 : 1;
	}
	if (!digits(&s, &a) || *s++ != '-')
		return 0;
	if (digits(&s, &b)) {
		if (b < a)
			return 0;
		if (b < *last)
			*last = b;
	}
	*first = a;
	return *s ? 0 : a >= size ? -1 : 1;
}

const char *http_type(const char *path)
{
	static const struct {
		const char *ending, *type;
	} known[] = {
		{"/", "text/html; charset=utf-8"},
		{".html", "text/html; charset=utf-8"},
		{".css", "text/css"},
		{".js", "text/javascript"},
		{".txt", "text/plain; charset=utf-8"},
		{".json", "application/json"},
		{".png", "image/png"},
		{".jpg", "image/jpeg"},
		{".svg", "image/svg+xml"},
	};
	size_t length = strlen(path);

	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		size_t n = strlen(known[i].ending);

		if (length >= n && strcmp(path + length - n, known[i].ending) == 0)
			return known[i].type;
	}
	return "application/octet-stream";
}
