// SPDX-License-Identifier: MIT
//
// Carries out the steps of one thread: turns their numbers into calls on what there is.
#ifndef RANDOM_WORLD_HPP
#define RANDOM_WORLD_HPP

#include "file.hpp"
#include "step.hpp"
#include "stream.hpp"

#include <deque>

namespace calls {

class World {
public:
	World();
	void run(const Steps &steps);

private:
	struct Handle {
		int fd;
		std::shared_ptr<OpenFile> file; // none when it is closed
	};
	struct ListTold {
		Told told;
		Notify notify;
		List members;
	};

	void carry_out(const Step &step);
	void on_objects(const Step &step);
	void finish();

	// Files, streams, descriptors.
	void open_file(const Step &step);
	void open_both(const std::shared_ptr<File> &model, int flags);
	void open_stream(const Step &step);
	void reopen(const Step &step);
	void close_one(const Step &step);
	void duplicate(const Step &step);
	void set_flags(const Step &step);
	void truncate(const Step &step);
	int add(int fd, const std::shared_ptr<OpenFile> &file);
	void drop(int handle);
	bool may_drop(int handle) const;
	int pick(uint32_t number) const; // a handle that is open, or -1
	size_t open_handles() const;
	void fork_child();

	// Requests.
	Place place(const Step &step, Kind kind, int handle) const;
	Request *prepare(const Step &step, Kind kind, const List &list, bool must_end);
	void start(const Step &step, Kind kind);
	void refused(const Step &step);
	void list(const Step &step);
	void call_list(const Step &step, bool waits, const std::vector<aiocb *> &entries,
		       const List &list);
	void listed(const List &list, bool failed);
	void cancel(const Step &step);
	void cancel_all(const Step &step);
	void suspend(const Step &step);
	void look() const;
	void wait(const Step &step);
	void settle();
	void finish_lists();
	void end_waiting_reads();
	std::vector<Request *> outstanding() const;
	Request *pick_request(uint32_t number) const;
	bool still_there(const Request &r) const; // its descriptor is the one it was made on

	std::vector<Handle> handles_;
	std::vector<std::shared_ptr<Model>> models_;
	std::deque<ListTold> lists_;
	Requests requests_;
	unsigned files_ = 0;
};

/// All threads of a sequence, each with a world of its own, in this process.
void run_all(const Sequence &sequence);

/// The handles of the C program that are there from the beginning.
inline constexpr int closed_number = 0, directory = 1, first_handle = 2;

} // namespace calls

#endif
