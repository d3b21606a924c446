// SPDX-License-Identifier: MIT
//
// What the contract says of the requests on one file or stream. A model says which of them must
// end and which cannot, and judges what has ended. Where several results are right, the one that
// is seen decides how the model goes on; where it would depend on a race what is right (requests
// that overlap), it waits for the earlier ones first.
#ifndef RANDOM_MODEL_HPP
#define RANDOM_MODEL_HPP

#include "request.hpp"

#include <memory>
#include <vector>

namespace calls {

class Model;

/// One open file: the handles on it and the requests hold it, as they do in the kernel.
struct OpenFile {
	std::shared_ptr<Model> model;
	int end = 0;   // of a stream
	int twin = -1; // of a file: the same one, opened the same way, for the system calls
	bool append = false, nonblocking = false, direct = false;
	bool can_read = true, can_write = true;
	unsigned handles = 0;
	std::vector<Request *> outstanding;
	~OpenFile();
};

using List = std::vector<Request *>; // what lio_listio has not been given yet

class Model {
public:
	virtual ~Model() = default;
	/// Before a request is made: false if its result would not be determined.
	virtual bool prepare(const Place &place, OpenFile &file, const List &list) = 0;
	/// Of what is prepared: will it end whatever comes?
	virtual bool sure_to_end(const Place &place, const OpenFile &file,
				 const List &list) const = 0;
	virtual bool must_end(const Request &r) const = 0;
	virtual bool cannot_end(const Request &r) const = 0;
	/// aio_cancel must get it, for it waits for others.
	virtual bool must_be_canceled(const Request &r) const = 0;
	/// Waits for the request and for what must end before it; judges them.
	virtual void collect(Request &r) = 0;
	/// Waits for all that must end.
	virtual void settle() = 0;
	/// May this handle, the last one on the file, be closed?
	virtual bool may_close(const OpenFile &file) const = 0;
	/// At the end of the sequence: what has been acknowledged is there.
	virtual void finish() = 0;

	virtual void append_outstanding(std::vector<Request *> &to) const = 0;

	/// It is about to be submitted.
	void admit(Request &r, const std::shared_ptr<OpenFile> &file);

protected:
	virtual void admitted(Request &r) = 0;
	/// Waits for this one; true unless it was canceled, which it then may be.
	static bool ended(Request &r);
};

[[noreturn]] void wrong(const Request &r, const char *what);

} // namespace calls

#endif
