// SPDX-License-Identifier: MIT
//
// Streams: each direction by itself, in the order of the calls, each write whole.
#ifndef RANDOM_STREAM_HPP
#define RANDOM_STREAM_HPP

#include "flow.hpp"

namespace calls {

/// Two descriptors: what is written to the second is read from the first.
void make_ends(Sort sort, int (&fds)[2]);
const char *name_of(Sort sort);

class Stream : public Model {
public:
	explicit Stream(Sort sort) : sort_(sort), flows_{Flow(sort), Flow(sort)} {}
	bool prepare(const Place &place, OpenFile &file, const List &list) override;
	bool sure_to_end(const Place &place, const OpenFile &file, const List &list) const override;
	bool must_end(const Request &r) const override;
	bool cannot_end(const Request &r) const override;
	bool must_be_canceled(const Request &r) const override;
	void collect(Request &r) override;
	void settle() override;
	bool may_close(const OpenFile &file) const override;
	void finish() override;
	void append_outstanding(std::vector<Request *> &to) const override;

	/// The open files of both ends; they hold the stream.
	void has_ends(const std::shared_ptr<OpenFile> (&files)[2]);
	/// For the end of the sequence: where what is left can be read.
	void readable_by(int end, int fd, int handle) { readers_[end] = {fd, handle}; }

protected:
	void admitted(Request &r) override;

private:
	bool gone(int end) const { return files_[end].expired(); }
	/// It may be gone: only requests hold it, and they may have ended.
	bool closed(int end) const { return gone(end) || files_[end].lock()->handles == 0; }
	/// The direction that a request transfers in, named by the end that reads.
	int reading_end(Kind kind, int end) const { return kind == Kind::read ? end : 1 - end; }
	Flow &flow_of(const Request &r) { return flows_[reading_end(r.place.kind, r.file->end)]; }
	const Flow &flow_of(const Request &r) const
	{
		return flows_[reading_end(r.place.kind, r.file->end)];
	}
	bool may_write(const Place &place, const OpenFile &file, const List &list) const;
	bool glibc_can(const Place &place, const OpenFile &file) const;
	void judge(Request &r);
	bool settle_one(Flow &flow);
	void drain(int end);

	Sort sort_;
	Flow flows_[2];
	std::weak_ptr<OpenFile> files_[2];
	struct Reader {
		int fd = -1, handle = -1;
	} readers_[2];
};

} // namespace calls

#endif
