// SPDX-License-Identifier: MIT
//
// Files: the same system calls, in order, on a twin of each.
#ifndef RANDOM_FILE_HPP
#define RANDOM_FILE_HPP

#include "model.hpp"

#include <string>

namespace calls {

class File : public Model {
public:
	File(std::string path, int flags);
	~File() override;
	bool prepare(const Place &place, OpenFile &file, const List &list) override;
	bool sure_to_end(const Place &, const OpenFile &, const List &) const override
	{
		return true;
	}
	bool must_end(const Request &) const override { return true; }
	bool cannot_end(const Request &) const override { return false; }
	bool must_be_canceled(const Request &) const override { return false; }
	void collect(Request &r) override;
	void settle() override;
	bool may_close(const OpenFile &) const override { return true; }
	void finish() override;
	void append_outstanding(std::vector<Request *> &to) const override
	{
		to.insert(to.end(), requests_.begin(), requests_.end());
	}

	/// A new open file of the file and of its twin: the descriptor, or -1.
	int open_both(int flags, OpenFile &file);
	void truncate(int fd, OpenFile &file, off_t size);
	const std::string &path() const { return path_; }
	int flags() const { return flags_; }

protected:
	void admitted(Request &r) override { requests_.push_back(&r); }

private:
	struct Range {
		off_t from, to;
		bool writes, append;
		const OpenFile *file;
		int fd;
	};
	Range range(const Place &place, const OpenFile &file) const;
	bool conflict(const Range &a, const Range &b) const;
	void judge(Request &r);
	void judge_read(const Request &r);
	void judge_sync(const Request &r);
	off_t size() const;

	std::string path_, twin_path_;
	int flags_, twin_;
	std::vector<Request *> requests_; // in the order of the calls
};

} // namespace calls

#endif
