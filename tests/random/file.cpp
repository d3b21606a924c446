// SPDX-License-Identifier: MIT
#include "file.hpp"

#include "report.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace calls {

namespace {

std::string content(const std::string &path)
{
	const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
	struct stat status {};
	fstat(fd, &status);
	std::string text(size_t(status.st_size), 0);
	const ssize_t n = pread(fd, text.data(), text.size(), 0);
	close(fd);
	if (n != status.st_size)
		fault("%s cannot be read", path.c_str());
	return text;
}

} // namespace

File::File(std::string path, int flags)
    : path_(std::move(path)), twin_path_(path_ + ".twin"), flags_(flags),
      twin_(open(twin_path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600))
{
}

File::~File()
{
	close(twin_);
	unlink(path_.c_str());
	unlink(twin_path_.c_str());
}

int File::open_both(int flags, OpenFile &file)
{
	file.twin = open(twin_path_.c_str(), flags_ | flags | O_CREAT | O_CLOEXEC, 0600);
	const int fd = open(path_.c_str(), flags_ | flags | O_CREAT | O_CLOEXEC, 0600);
	if ((fd < 0) != (file.twin < 0))
		fault("%s: only one of two files can be opened", path_.c_str());
	file.append = (flags & O_APPEND) != 0;
	file.direct = (flags & O_DIRECT) != 0;
	return fd;
}

off_t File::size() const
{
	struct stat status {};
	fstat(twin_, &status);
	return status.st_size;
}

/// A write beyond the end of the file writes what lies between, too.
File::Range File::range(const Place &place, const OpenFile &file) const
{
	constexpr off_t infinite = std::numeric_limits<off_t>::max();
	const bool writes = place.kind == Kind::write, append = writes && file.append;
	if (append)
		return {size(), infinite, true, true, &file, place.fd};
	const off_t end = place.offset + off_t(place.size);
	return {writes ? std::min(place.offset, size()) : place.offset,
		end,
		writes,
		false,
		&file,
		place.fd};
}

bool File::conflict(const Range &a, const Range &b) const
{
	if (a.append && b.append) // glibc has an order for each number
		return a.file != b.file || (is_glibc() && a.fd != b.fd);
	return (a.writes || b.writes) && a.from < b.to && b.from < a.to;
}

bool File::prepare(const Place &place, OpenFile &file, const List &list)
{
	if (place.kind == Kind::sync)
		return true;
	const Range range = this->range(place, file);
	const auto conflicts = [&](const Request *other) {
		return other->place.kind != Kind::sync &&
		       conflict(range, this->range(other->place, *other->file));
	};
	for (const Request *const other : list)
		if (other->file->model.get() == this && conflicts(other))
			return false;
	const auto before = requests_;
	for (Request *const other : before)
		if (!other->collected && conflicts(other))
			collect(*other);
	return true;
}

void File::collect(Request &r)
{
	// The twin gets what is appended in the order of the calls.
	while (r.writes() && r.file->append) {
		const auto first = std::find_if(requests_.begin(), requests_.end(), [&](auto *o) {
			return o->writes() && o->file == r.file;
		});
		if (*first == &r)
			break;
		judge(**first);
	}
	judge(r);
}

void File::judge(Request &r)
{
	if (ended(r)) {
		errno = 0;
		if (r.reads())
			judge_read(r);
		else if (r.place.kind == Kind::sync)
			judge_sync(r);
		else if (pwrite(r.file->twin, r.buffer, r.place.size, r.place.offset) != r.result ||
			 (r.result < 0 && errno != r.error))
			wrong(r, "pwrite ends otherwise");
	}
	std::erase(requests_, &r);
	r.file = nullptr;
}

void File::judge_read(const Request &r)
{
	const size_t page = 4096;
	const std::unique_ptr<char, void (*)(void *)> memory(
		static_cast<char *>(aligned_alloc(page, (r.place.size / page + 2) * page)), free);
	char *const buffer = memory.get() + r.place.shift;
	const ssize_t n = pread(r.file->twin, buffer, r.place.size, r.place.offset);
	if (n != r.result || (n < 0 && errno != r.error))
		wrong(r, "pread ends otherwise");
	if (n > 0 && memcmp(buffer, r.buffer, size_t(n)) != 0)
		wrong(r, "pread gives other data");
}

void File::judge_sync(const Request &r)
{
	if (fsync(r.file->twin) != r.result || (r.result < 0 && errno != r.error))
		wrong(r, "fsync ends otherwise");
	for (Request *const other : requests_) {
		if (other == &r)
			break;
		if (other->file == r.file && !other->has_ended())
			wrong(*other, "a later fsync has ended");
	}
}

void File::settle()
{
	while (!requests_.empty())
		collect(*requests_.front());
}

void File::truncate(int fd, OpenFile &file, off_t size)
{
	settle();
	const int answer = ftruncate(fd, size), error = errno;
	if (ftruncate(file.twin, size) != answer || (answer < 0 && errno != error))
		fault("ftruncate ends otherwise");
}

void File::finish()
{
	settle();
	const std::string text = content(path_);
	if (text != content(twin_path_))
		fault("%s has other contents than pwrite would have given it", path_.c_str());
	say("\tcontents(\"%s\", %zu, %#xu);", path_.c_str(), text.size(), hash(text));
}

} // namespace calls
