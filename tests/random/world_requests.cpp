// SPDX-License-Identifier: MIT
#include "report.hpp"
#include "world.hpp"

#include <algorithm>
#include <cerrno>

namespace calls {

namespace {

constexpr size_t page = 4096;
constexpr size_t most_outstanding = 64, most_outstanding_glibc = 4; // of the 20 threads it has

size_t file_size(const Step &step)
{
	static constexpr size_t most[] = {2, 100, 5000, 100000};
	return step.size % 61 == 0 ? 1 << 20 : step.size / 8 % most[step.size % 4];
}

size_t stream_size(const Step &step, Kind kind)
{
	static constexpr size_t most[] = {100, 100, 4096, 4096, 100000};
	const size_t size = step.size / 8 % most[step.size % 5];
	return kind == Kind::read ? size + (step.extra % 16 != 0) : size;
}

} // namespace

Place World::place(const Step &step, Kind kind, int handle) const
{
	const Handle &h = handles_[size_t(handle)];
	const int priority = is_glibc() ? 0 : int(step.extra % 21);
	Place place{kind, h.fd, handle, 0, 0, priority, notification(step.notify), 0};
	const bool aligned = h.file->direct && step.extra % 8 != 0;
	if (h.file->twin < 0)
		place.size = stream_size(step, kind);
	else if (aligned)
		place.size = (1 + step.size % 16) * page;
	else
		place.size = file_size(step);
	place.offset = aligned ? off_t(step.offset % 64 * page) : off_t(step.offset % 200000);
	place.shift = aligned ? 0 : step.notify / 8 % 64;
	return place;
}

/// None where the result would not be determined.
Request *World::prepare(const Step &step, Kind kind, const List &list, bool must_end)
{
	const int handle = pick(step.handle);
	const size_t most = is_glibc() ? most_outstanding_glibc : most_outstanding;
	if (handle < 0 || outstanding().size() >= most)
		return nullptr;
	const auto file = handles_[size_t(handle)].file;
	const Place where = place(step, kind, handle);
	if ((must_end && !file->model->sure_to_end(where, *file, list)) ||
	    !file->model->prepare(where, *file, list))
		return nullptr;
	Request &r = requests_.prepare(where, step.notify % 2 != 0);
	file->model->admit(r, file);
	return &r;
}

void World::start(const Step &step, Kind kind)
{
	Request *const r = prepare(step, kind, {}, false);
	if (r != nullptr && submit(*r) != 0)
		wrong(*r, "it is not accepted");
}

/// What is refused does nothing and tells nobody.
void World::refused(const Step &step)
{
	Place place{Kind(step.extra % 3),
		    handles_[closed_number].fd,
		    closed_number,
		    10,
		    0,
		    0,
		    notification(step.notify),
		    0};
	const bool by_call = step.size % 2 != 0;
	int expected = EBADF;
	if (place.kind == Kind::sync) {
		place.size = 0;
	} else if (by_call) {
		place.handle = directory;
		place.priority = step.size % 4 == 1 ? 21 : -1;
		expected = EINVAL;
	} else if (step.size % 4 == 0) {
		place.handle = directory;
		expected = place.kind == Kind::read ? EISDIR : EBADF;
	}
	place.fd = handles_[size_t(place.handle)].fd;
	Request &r = requests_.prepare(place, step.notify % 2 != 0);
	const int answer = submit(r);
	if (answer != 0) {
		if (place.kind != Kind::sync && !by_call)
			wrong(r, "it is refused by the call");
		r.error = errno;
	} else {
		r.collect();
	}
	if (r.error != expected || (answer == 0) == (by_call || place.kind == Kind::sync))
		wrong(r, "it is not refused as it should be");
}

std::vector<Request *> World::outstanding() const
{
	std::vector<Request *> all;
	for (const auto &model : models_)
		model->append_outstanding(all);
	return all;
}

Request *World::pick_request(uint32_t number) const
{
	const auto all = outstanding();
	return all.empty() ? nullptr : all[number % all.size()];
}

bool World::still_there(const Request &r) const
{
	return handles_[size_t(r.place.handle)].file == r.file;
}

void World::look() const
{
	for (Request *const r : outstanding())
		if (r->file->model->cannot_end(*r)) {
			say("\tpending(%u);", r->slot);
			if (r->has_ended())
				wrong(*r, "it has ended, but it cannot");
		}
}

void World::wait(const Step &step)
{
	Request *const r = pick_request(step.extra);
	if (r != nullptr && r->file->model->must_end(*r))
		r->file->model->collect(*r);
}

void World::settle()
{
	for (const auto &model : models_)
		model->settle();
	finish_lists();
}

void World::finish_lists()
{
	for (ListTold &list : lists_) {
		const auto collected = [](const Request *r) { return r->collected; };
		if (!std::all_of(list.members.begin(), list.members.end(), collected))
			continue;
		wait_until_told(list.told, list.notify);
		for (Request *const r : list.members)
			--r->lists;
		list.members.clear();
	}
}

void World::suspend(const Step &step)
{
	static constexpr timespec moment{0, 1000};
	std::vector<const aiocb *> list{nullptr};
	bool one_must = false, none_can = true;
	std::vector<Request *> chosen;
	for (uint32_t i = 0; i <= step.extra % 3; ++i)
		if (Request *const r = pick_request(step.size + i)) {
			chosen.push_back(r);
			list.push_back(&r->cb);
			one_must = one_must || r->file->model->must_end(*r);
			none_can = none_can && r->file->model->cannot_end(*r);
		}
	if (chosen.empty())
		return;
	std::string text;
	for (const Request *const r : chosen)
		text += ", &r[" + std::to_string(r->slot) + "].cb";
	say("\tsuspend(%d, %zu, (const struct aiocb *[]){NULL%s});", one_must, list.size(),
	    text.c_str());
	const int answer = aio_suspend(list.data(), int(list.size()), one_must ? nullptr : &moment);
	if (answer != 0 && (answer != -1 || errno != EAGAIN || one_must))
		fault("aio_suspend gives %d, errno %d", answer, errno);
	const auto ended = [](Request *r) { return r->has_ended(); };
	if (answer == 0 && (none_can || std::none_of(chosen.begin(), chosen.end(), ended)))
		fault("aio_suspend ends, but none of its requests");
}

} // namespace calls
