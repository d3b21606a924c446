// SPDX-License-Identifier: MIT
#include "world.hpp"

#include "report.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

namespace calls {

namespace {

constexpr size_t most_handles = 40;
constexpr int never_open = 777;

/// What a child of fork does: requests of its own, at once.
bool child_can_work()
{
	int ends[2];
	char text[] = "child", got[sizeof text] = "";
	if (pipe(ends) != 0)
		return false;
	aiocb from{}, to{};
	from.aio_fildes = ends[0];
	from.aio_buf = got;
	to.aio_fildes = ends[1];
	to.aio_buf = text;
	from.aio_nbytes = to.aio_nbytes = sizeof text;
	from.aio_sigevent.sigev_notify = to.aio_sigevent.sigev_notify = SIGEV_NONE;
	const aiocb *const list[] = {&from};
	if (aio_read(&from) != 0 || aio_write(&to) != 0)
		return false;
	while (aio_error(&from) == EINPROGRESS)
		aio_suspend(list, 1, nullptr);
	return aio_return(&from) == sizeof text && memcmp(text, got, sizeof text) == 0;
}

} // namespace

World::World()
{
	handles_.push_back({never_open, nullptr});
	handles_.push_back({open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), nullptr});
}

int World::add(int fd, const std::shared_ptr<OpenFile> &file)
{
	if (fd < 0)
		fault("a descriptor cannot be made: errno %d", errno);
	++file->handles;
	handles_.push_back({fd, file});
	return int(handles_.size()) - 1;
}

size_t World::open_handles() const
{
	return size_t(std::count_if(handles_.begin(), handles_.end(),
				    [](const Handle &h) { return h.file != nullptr; }));
}

int World::pick(uint32_t number) const
{
	const size_t n = open_handles();
	if (n == 0)
		return -1;
	size_t left = number % n;
	for (size_t i = 0;; ++i)
		if (handles_[i].file != nullptr && left-- == 0)
			return int(i);
}

void World::open_file(const Step &step)
{
	static constexpr int kinds[] = {0, 0, 0, O_APPEND, O_APPEND, O_DIRECT, O_DIRECT, O_SYNC};
	static constexpr const char *folders[] = {"/var/tmp", "/dev/shm"};
	if (open_handles() >= most_handles)
		return;
	const std::string path = std::string(folders[step.offset % 3 == 0]) + "/random-" +
				 std::to_string(getpid()) + "-" + std::to_string(this_thread) +
				 "-" + std::to_string(files_++);
	const int flags = kinds[step.extra % std::size(kinds)];
	const auto model = std::make_shared<File>(path, flags & (O_DIRECT | O_SYNC));
	models_.push_back(model);
	open_both(model, O_RDWR | flags);
}

void World::open_both(const std::shared_ptr<File> &model, int flags)
{
	const auto file = std::make_shared<OpenFile>();
	file->model = model;
	const int fd = model->open_both(flags, *file);
	if (fd < 0) // a file system without O_DIRECT
		return;
	const int handle = add(fd, file);
	say("\tfd[%d] = open(\"%s\", %#o | O_CREAT, 0600);", handle, model->path().c_str(),
	    unsigned(flags | model->flags()));
}

void World::reopen(const Step &step)
{
	static constexpr int modes[] = {O_RDWR, O_RDONLY, O_WRONLY, O_RDWR | O_APPEND};
	const int handle = pick(step.handle);
	if (handle < 0 || open_handles() >= most_handles)
		return;
	if (const auto model =
		    std::dynamic_pointer_cast<File>(handles_[size_t(handle)].file->model))
		open_both(model, modes[step.extra % std::size(modes)]);
}

void World::open_stream(const Step &step)
{
	if (open_handles() >= most_handles)
		return;
	const Sort sort = Sort(step.extra % sorts);
	const auto model = std::make_shared<Stream>(sort);
	int fds[2];
	make_ends(sort, fds);
	const std::shared_ptr<OpenFile> files[] = {std::make_shared<OpenFile>(),
						   std::make_shared<OpenFile>()};
	for (const int end : {0, 1}) {
		files[end]->model = model;
		files[end]->end = end;
		files[end]->can_read = sort > Sort::fifo || end == 0;
		files[end]->can_write = sort > Sort::fifo || end == 1;
	}
	model->has_ends(files);
	models_.push_back(model);
	const int first = add(fds[0], files[0]);
	add(fds[1], files[1]);
	say("\tmake_%s(&fd[%d]);", name_of(sort), first);
}

bool World::may_drop(int handle) const
{
	const OpenFile &file = *handles_[size_t(handle)].file;
	if (is_glibc() && !file.outstanding.empty())
		return false;
	return file.handles > 1 || file.model->may_close(file);
}

void World::drop(int handle)
{
	Handle &h = handles_[size_t(handle)];
	--h.file->handles;
	h = {-1, nullptr};
}

void World::close_one(const Step &step)
{
	const int handle = pick(step.handle);
	if (handle < 0 || !may_drop(handle))
		return;
	say("\tclose(fd[%d]);", handle);
	if (close(handles_[size_t(handle)].fd) != 0)
		fault("close fails with errno %d", errno);
	drop(handle);
}

void World::duplicate(const Step &step)
{
	const int from = pick(step.handle), to = pick(step.extra);
	if (from < 0 || open_handles() >= most_handles)
		return;
	const Handle h = handles_[size_t(from)];
	if (to == from || !may_drop(to)) {
		const int added = add(fcntl(h.fd, F_DUPFD_CLOEXEC, 0), h.file);
		say("\tfd[%d] = dup(fd[%d]);", added, from);
		return;
	}
	const int number = handles_[size_t(to)].fd;
	drop(to);
	const int added = add(dup3(h.fd, number, O_CLOEXEC), h.file);
	say("\tfd[%d] = dup2(fd[%d], fd[%d]);", added, from, to);
}

void World::set_flags(const Step &step)
{
	const int handle = pick(step.handle);
	if (handle < 0 || !handles_[size_t(handle)].file->outstanding.empty())
		return;
	const Handle &h = handles_[size_t(handle)];
	const bool is_file = h.file->twin >= 0;
	const int flag = is_file ? O_APPEND : O_NONBLOCK;
	bool &on = is_file ? h.file->append : h.file->nonblocking;
	on = !on;
	for (const int fd : {h.fd, h.file->twin})
		if (fd >= 0)
			fcntl(fd, F_SETFL,
			      on ? fcntl(fd, F_GETFL) | flag : fcntl(fd, F_GETFL) & ~flag);
	say("\tset_flag(fd[%d], %s, %d);", handle, is_file ? "O_APPEND" : "O_NONBLOCK", on);
}

void World::truncate(const Step &step)
{
	const int handle = pick(step.handle);
	if (handle < 0)
		return;
	const Handle &h = handles_[size_t(handle)];
	if (const auto model = std::dynamic_pointer_cast<File>(h.file->model)) {
		model->truncate(h.fd, *h.file, step.size % 100000);
		say("\tftruncate(fd[%d], %u);", handle, step.size % 100000);
	}
}

void World::fork_child()
{
	// glibc's child waits for threads that it has not got; AddressSanitizer's finds the lock of
	// its memory held by one.
#ifdef __SANITIZE_ADDRESS__
	constexpr bool can_fork = false;
#else
	constexpr bool can_fork = true;
#endif
	if (is_glibc() || !can_fork)
		return;
	say("\tchild();");
	const pid_t child = fork();
	if (child == 0)
		_exit(child_can_work() ? 0 : 1);
	int status = -1;
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		fault("the child ends with status %#x", unsigned(status));
}

void World::on_objects(const Step &step)
{
	switch (step.op) {
	case Op::open_file:
		return open_file(step);
	case Op::open_stream:
		return open_stream(step);
	case Op::reopen:
		return reopen(step);
	case Op::close:
		return close_one(step);
	case Op::duplicate:
		return duplicate(step);
	case Op::set_flags:
		return set_flags(step);
	case Op::truncate:
		return truncate(step);
	default:
		return fork_child();
	}
}

void World::carry_out(const Step &step)
{
	switch (step.op) {
	case Op::read:
		return start(step, Kind::read);
	case Op::write:
		return start(step, Kind::write);
	case Op::sync:
		return start(step, Kind::sync);
	case Op::bad:
		return refused(step);
	case Op::list:
		return list(step);
	case Op::cancel:
		return cancel(step);
	case Op::cancel_all:
		return cancel_all(step);
	case Op::suspend:
		return suspend(step);
	case Op::look:
		return look();
	case Op::wait:
		return wait(step);
	case Op::settle:
		return settle();
	default:
		return on_objects(step);
	}
}

void World::finish()
{
	settle();
	look();
	for (size_t i = first_handle; i < handles_.size(); ++i)
		if (const auto &file = handles_[i].file; file != nullptr && file->can_read)
			if (const auto stream = std::dynamic_pointer_cast<Stream>(file->model))
				stream->readable_by(file->end, handles_[i].fd, int(i));
	for (const auto &model : models_)
		model->finish();
	end_waiting_reads();
	finish_lists();
	requests_.all_are_told();
}

void World::run(const Steps &steps)
{
	for (const Step &step : steps)
		carry_out(step);
	finish();
}

void run_all(const Sequence &sequence)
{
	start_receiver();
	std::vector<std::thread> threads;
	for (size_t i = 1; i < sequence.size(); ++i)
		threads.emplace_back([&sequence, i] {
			this_thread = unsigned(i);
			(new World)->run(sequence[i]);
		});
	(new World)->run(sequence[0]); // what it leaves outstanding stays valid
	for (std::thread &thread : threads)
		thread.join();
}

} // namespace calls
