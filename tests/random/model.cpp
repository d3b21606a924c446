// SPDX-License-Identifier: MIT
#include "model.hpp"

#include "report.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace calls {

OpenFile::~OpenFile()
{
	if (twin >= 0)
		close(twin);
}

void Model::admit(Request &r, const std::shared_ptr<OpenFile> &file)
{
	r.file = file;
	file->outstanding.push_back(&r);
	admitted(r);
}

bool Model::ended(Request &r)
{
	r.collect();
	std::erase(r.file->outstanding, &r);
	if (r.error != ECANCELED)
		return true;
	if (!r.may_be_canceled)
		wrong(r, "canceled by nobody");
	if (r.result != -1)
		wrong(r, "canceled with a result");
	return false;
}

void wrong(const Request &r, const char *what)
{
	fault("request %u (%s of %zu at %lld, result %zd, errno %d): %s", r.slot,
	      r.reads()    ? "read"
	      : r.writes() ? "write"
			   : "fsync",
	      r.place.size, static_cast<long long>(r.place.offset), r.result, r.error, what);
}

} // namespace calls
