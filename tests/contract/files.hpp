// SPDX-License-Identifier: MIT
//
// Files on every kind of file system that this machine has.
#ifndef CONTRACT_FILES_HPP
#define CONTRACT_FILES_HPP

#include "checks.hpp"

#include <sys/stat.h>

#include <vector>

namespace contract {

inline std::string disk_directory()
{
	return access(".", W_OK) == 0 ? "." : "/var/tmp";
}

struct File {
	std::string path;
	Fd fd;
	File(const std::string &directory, int flags) : path(temp_name(directory))
	{
		fd.reset(open(path.c_str(), O_CREAT | O_EXCL | O_CLOEXEC | flags, 0600));
	}
	File(File &&) = default;
	~File()
	{
		if (!path.empty())
			unlink(path.c_str());
	}
	/// Looks through a descriptor of its own.
	std::string content(size_t bytes = SIZE_MAX, off_t offset = 0) const
	{
		Fd in(open(path.c_str(), O_RDONLY | O_CLOEXEC));
		struct stat status {};
		if (fstat(in, &status) != 0 || status.st_size <= offset)
			return {};
		std::string text(std::min(bytes, static_cast<size_t>(status.st_size - offset)),
				 '\0');
		size_t got = 0;
		for (ssize_t n; got < text.size() && (n = pread(in, &text[got], text.size() - got,
								offset + off_t(got))) > 0;)
			got += static_cast<size_t>(n);
		text.resize(got);
		return text;
	}
};

struct FileKind {
	const char *name;
	std::string directory;
	int flags;
};
inline File make_file(const FileKind &kind, int extra = 0)
{
	File file(kind.directory, O_RDWR | kind.flags | extra);
	BOOST_TEST_REQUIRE(file.fd >= 0);
	return file;
}
inline File disk_file(int flags = 0)
{
	return make_file({"disk", disk_directory(), flags});
}
inline File tmpfs_file(int flags = 0)
{
	return make_file({"tmpfs", "/dev/shm", flags});
}

/// The kinds this machine's file systems take. Transfers of whole, aligned pages suit all of them.
inline std::vector<FileKind> file_kinds()
{
	const std::vector<FileKind> wanted{
		{"disk", disk_directory(), 0},
		{"disk, O_DIRECT", disk_directory(), O_DIRECT},
		{"disk, O_SYNC", disk_directory(), O_SYNC},
		{"disk, O_DIRECT|O_DSYNC", disk_directory(), O_DIRECT | O_DSYNC},
		{"tmpfs", "/dev/shm", 0},
		{"tmpfs, O_SYNC", "/dev/shm", O_SYNC},
	};
	std::vector<FileKind> kinds;
	for (const FileKind &kind : wanted)
		if (File probe(kind.directory, O_RDWR | kind.flags); probe.fd >= 0)
			kinds.push_back(kind);
	return kinds;
}
template <class Body> void for_each_file_kind(Body body)
{
	for (const FileKind &kind : file_kinds())
		BOOST_TEST_CONTEXT("file: " << kind.name)
		{
			body(kind);
		}
}

} // namespace contract

#endif
