// SPDX-License-Identifier: MIT
#include "report.hpp"
#include "world.hpp"

#include <algorithm>
#include <cerrno>

namespace calls {

namespace {

const char *name_of(int answer)
{
	return answer == AIO_CANCELED      ? "AIO_CANCELED"
	       : answer == AIO_NOTCANCELED ? "AIO_NOTCANCELED"
	       : answer == AIO_ALLDONE     ? "AIO_ALLDONE"
					   : "-1";
}

/// glibc forgets what comes behind a request that it cancels before a thread has taken it.
bool can_cancel(const OpenFile &file)
{
	return !is_glibc() || file.outstanding.size() < 2;
}

} // namespace

void World::list(const Step &step)
{
	const bool waits = step.extra % 3 == 0;
	List list;
	std::vector<aiocb *> entries;
	for (const Step &element : step.elements) {
		const Kind kind = element.op == Op::read ? Kind::read : Kind::write;
		Request *const r = prepare(element, kind, list, waits);
		if (r != nullptr)
			list.push_back(r);
		entries.push_back(r != nullptr ? &r->cb : nullptr);
	}
	call_list(step, waits, entries, list);
}

void World::call_list(const Step &step, bool waits, const std::vector<aiocb *> &entries,
		      const List &list)
{
	ListTold &whole = lists_.emplace_back();
	whole.notify = waits ? Notify::none : notification(step.notify);
	whole.members = list;
	std::string text;
	for (Request *const r : list) {
		++r->lists;
		whole.told.of.push_back(&r->cb);
		if (whole.notify == Notify::signal && r->place.notify == Notify::signal)
			whole.told.after.push_back(&r->told);
		text += ", &r[" + std::to_string(r->slot) + "].cb";
	}
	sigevent event = telling(whole.notify, whole.told);
	say("\tlist(%s, %u, %zu, (struct aiocb *[]){NULL%s});", waits ? "LIO_WAIT" : "LIO_NOWAIT",
	    unsigned(whole.notify), list.size() + 1, text.c_str());
	const int answer =
		lio_listio(waits ? LIO_WAIT : LIO_NOWAIT, const_cast<aiocb **>(entries.data()),
			   int(entries.size()), &event);
	if (answer != 0 && !(waits && answer == -1 && errno == EIO))
		fault("lio_listio gives %d, errno %d", answer, errno);
	if (waits)
		listed(list, answer != 0);
}

void World::listed(const List &list, bool failed)
{
	bool any = false;
	for (Request *const r : list) {
		if (!r->has_ended())
			wrong(*r, "LIO_WAIT has not waited for it");
		any = any || r->error != 0;
		r->file->model->collect(*r);
	}
	if (any != failed)
		fault("LIO_WAIT is wrong about whether a request failed");
}

void World::cancel(const Step &step)
{
	Request *const r = pick_request(step.extra);
	if (r == nullptr || !still_there(*r) || !can_cancel(*r->file))
		return;
	const bool ended = r->has_ended(), must = r->file->model->must_be_canceled(*r);
	const int answer = aio_cancel(r->place.fd, &r->cb);
	say("\tcancel(fd[%d], &r[%u].cb, %s);", r->place.handle, r->slot, name_of(answer));
	const int error = aio_error(&r->cb);
	const bool canceled = answer == AIO_CANCELED;
	if (answer < 0 || (ended && answer != AIO_ALLDONE) || (must && !canceled))
		fault("aio_cancel of request %u gives %s", r->slot, name_of(answer));
	if (canceled != (error == ECANCELED) || (answer == AIO_ALLDONE && error == EINPROGRESS))
		fault("aio_cancel of request %u gives %s, its status is %d", r->slot,
		      name_of(answer), error);
	r->may_be_canceled = canceled;
	if (canceled)
		r->file->model->collect(*r);
}

void World::cancel_all(const Step &step)
{
	const int handle = pick(step.handle);
	if (handle < 0)
		return;
	const Handle h = handles_[size_t(handle)];
	if (!can_cancel(*h.file))
		return;
	// glibc knows nothing but the number: what was submitted by it on another file ends, too.
	List all, open, must;
	h.file->model->append_outstanding(all);
	std::erase_if(all, [&](const Request *r) {
		return r->file != h.file && !(is_glibc() && r->place.fd == h.fd);
	});
	for (Request *const r : all) {
		if (!r->has_ended())
			open.push_back(r);
		if (r->place.fd == h.fd && still_there(*r) && r->file->model->must_be_canceled(*r))
			must.push_back(r);
	}
	const int answer = aio_cancel(h.fd, nullptr);
	say("\tcancel(fd[%d], NULL, %s);", handle, name_of(answer));
	size_t canceled = 0, going_on = 0;
	for (Request *const r : open) {
		const int error = aio_error(&r->cb);
		going_on += error == EINPROGRESS && r->place.fd == h.fd && r->file == h.file;
		canceled += r->may_be_canceled = error == ECANCELED;
		if (error != ECANCELED && std::find(must.begin(), must.end(), r) != must.end())
			wrong(*r, "aio_cancel has not canceled it");
	}
	if (answer < 0 || (going_on != 0 && answer != AIO_NOTCANCELED) ||
	    (answer == AIO_CANCELED && canceled == 0) || (answer == AIO_ALLDONE && canceled != 0))
		fault("aio_cancel gives %s: %zu canceled, %zu going on", name_of(answer), canceled,
		      going_on);
	for (Request *const r : open)
		if (r->may_be_canceled)
			r->file->model->collect(*r);
}

/// What waits for data that never comes. A descriptor that is closed gives no hold: those are left
/// to the end of the process.
void World::end_waiting_reads()
{
	for (Request *const r : outstanding())
		if (!is_glibc() && still_there(*r) && r->file->model->must_be_canceled(*r)) {
			say("\tcancel(fd[%d], &r[%u].cb, AIO_CANCELED);", r->place.handle, r->slot);
			if (aio_cancel(r->place.fd, &r->cb) != AIO_CANCELED)
				wrong(*r, "a read that waits is not canceled");
			r->may_be_canceled = true;
			r->file->model->collect(*r);
		}
}

} // namespace calls
