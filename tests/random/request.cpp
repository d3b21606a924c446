// SPDX-License-Identifier: MIT
#include "request.hpp"

#include "report.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <thread>

namespace calls {

namespace {

constexpr size_t page = 4096, guard = 64;
constexpr char untouched = '?';
const int the_signal = SIGRTMIN + 3;

/// A function that is called has every signal open: another thread takes some, in any order.
std::atomic<bool> functions_are_called;

void take(int, siginfo_t *info, void *)
{
	if (info->si_code != SI_ASYNCIO)
		fault("a signal with si_code %d", info->si_code);
	static_cast<Told *>(info->si_value.sival_ptr)->look();
}

void receive()
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, the_signal);
	for (;;) {
		siginfo_t info;
		if (sigwaitinfo(&set, &info) == the_signal)
			take(the_signal, &info, nullptr);
	}
}

void called(sigval value)
{
	static_cast<Told *>(value.sival_ptr)->look();
}

bool is(const char *from, size_t bytes, char c)
{
	for (size_t i = 0; i < bytes; ++i)
		if (from[i] != c)
			return false;
	return true;
}

void pattern(char *to, size_t bytes, uint32_t x)
{
	for (size_t i = 0; i < bytes; ++i) {
		x = x * 1103515245 + 12345;
		to[i] = char(x >> 16);
	}
}

void look_at_memory(const Request &r)
{
	const char *const end = r.memory.get() + r.memory_size;
	if (!is(r.buffer - guard, guard, untouched) ||
	    !is(r.buffer + r.place.size, size_t(end - r.buffer) - r.place.size, untouched))
		fault("request %u: memory beside its buffer was written", r.slot);
	std::string before(r.writes() ? r.place.size : 0, 0);
	pattern(before.data(), before.size(), r.serial);
	if (memcmp(before.data(), r.buffer, before.size()) != 0)
		fault("request %u: the buffer of a write was changed", r.slot);
}

} // namespace

bool is_glibc()
{
	static const bool glibc = dlsym(RTLD_DEFAULT, "ec_create") == nullptr;
	return glibc;
}

void Told::look()
{
	// The kernel orders a signal after the request that it is for: ThreadSanitizer does not
	// know that, but it knows this pair of load and store (in telling).
	times.load();
	for (const aiocb *const cb : of)
		if (aio_error(cb) == EINPROGRESS)
			early = true;
	for (const Told *const other : after)
		if (other->times == 0 && !functions_are_called)
			early = true;
	++times;
}

Notify notification(uint32_t number)
{
	static constexpr Notify all[] = {Notify::none,   Notify::none,   Notify::none,
					 Notify::signal, Notify::signal, Notify::thread};
	return all[number % std::size(all)];
}

/// Another thread may read `told` from the submission on: it is complete.
sigevent telling(Notify notify, Told &told)
{
	told.times = 0;
	sigevent event;
	memset(&event, 0xa5, sizeof event);
	event.sigev_notify = notify == Notify::none     ? SIGEV_NONE
			     : notify == Notify::signal ? SIGEV_SIGNAL
							: SIGEV_THREAD;
	event.sigev_signo = the_signal;
	event.sigev_value.sival_ptr = &told;
	if (notify == Notify::thread) {
		functions_are_called = true;
		event.sigev_notify_function = called;
		event.sigev_notify_attributes = nullptr;
	}
	return event;
}

void wait_until_told(const Told &told, Notify notify)
{
	// A sequence that hangs is ended by its parent.
	for (unsigned spins = 0; notify != Notify::none && told.times == 0; ++spins)
		spins < 50 ? sched_yield() : usleep(100);
	if (told.early)
		fault("told before the end");
	if (told.times > unsigned(notify != Notify::none))
		fault("told %u times", unsigned(told.times));
}

bool Request::has_ended()
{
	if (collected)
		return true;
	error = aio_error(&cb);
	return error != EINPROGRESS;
}

void Request::collect()
{
	say("\twait_for(%u);", slot);
	const aiocb *const list[] = {&cb};
	for (unsigned spins = 0; !has_ended(); ++spins)
		if (spins > 20 && aio_suspend(list, 1, nullptr) != 0)
			fault("aio_suspend ends with errno %d", errno);
	result = aio_return(&cb);
	say("\tended(%u, %zd, %d, %#xu);", slot, result, error, reads() ? hash(data()) : 0);
	if (aio_error(&cb) != error || aio_return(&cb) != result)
		fault("request %u: another status when asked again", slot);
	wait_until_told(told, place.notify);
	look_at_memory(*this);
	collected = true;
}

void Requests::take_memory(Request &r)
{
	r.memory_size = (guard + r.place.shift + r.place.size + guard + 2 * page);
	r.memory.reset(new char[r.memory_size]);
	memset(r.memory.get(), untouched, r.memory_size);
	const auto from = reinterpret_cast<uintptr_t>(r.memory.get()) + guard;
	r.buffer = r.memory.get() + guard + (page - from % page) % page + r.place.shift;
	if (r.writes())
		pattern(r.buffer, r.place.size, r.serial = ++serial_);
}

Request &Requests::prepare(const Place &place, bool serve_again)
{
	size_t at = 0;
	while (at < all_.size() && !(serve_again && all_[at]->collected && all_[at]->lists == 0))
		++at;
	if (at == all_.size())
		all_.push_back(std::make_unique<Request>());
	Request &r = *all_[at];
	if (r.collected)
		wait_until_told(r.told, r.place.notify);
	r.slot = unsigned(at);
	r.place = place;
	r.told.early = r.may_be_canceled = r.collected = r.broken = false;
	r.sure = r.lists = 0;
	r.told.of = {&r.cb};
	take_memory(r);
	memset(&r.cb, 0xa5, sizeof r.cb); // nobody clears what is not documented
	r.cb.aio_fildes = place.fd;
	r.cb.aio_buf = r.buffer;
	r.cb.aio_nbytes = place.size;
	r.cb.aio_offset = place.offset;
	r.cb.aio_reqprio = place.priority;
	r.cb.aio_lio_opcode = r.reads() ? LIO_READ : LIO_WRITE;
	r.cb.aio_sigevent = telling(place.notify, r.told);
	say("%s", described(r).c_str());
	if (r.writes())
		say("\tfill(%u, %u);", r.slot, serial_);
	return r;
}

void Requests::all_are_told() const
{
	for (const auto &r : all_)
		if (r->collected)
			wait_until_told(r->told, r->place.notify);
}

std::string described(const Request &r)
{
	static constexpr const char *notified[] = {"SIGEV_NONE", "SIGEV_SIGNAL", "SIGEV_THREAD"};
	const Place &p = r.place;
	return "\trequest(" + std::to_string(r.slot) + ", fd[" + std::to_string(p.handle) + "], " +
	       std::to_string(p.size) + ", " + std::to_string(p.offset) + ", " +
	       std::to_string(p.priority) + ", " + notified[unsigned(p.notify)] + ", " +
	       std::to_string(p.shift) + ", " + (r.reads() ? "LIO_READ" : "LIO_WRITE") + ");";
}

int submit(Request &r)
{
	static constexpr const char *names[] = {"aio_read(", "aio_write(", "aio_fsync(O_SYNC, "};
	const int answer = r.reads()    ? aio_read(&r.cb)
			   : r.writes() ? aio_write(&r.cb)
					: aio_fsync(O_SYNC, &r.cb);
	const int error = answer == 0 ? 0 : errno;
	say("\tanswer(%s&r[%u].cb), %d, %d);", names[unsigned(r.place.kind)], r.slot, answer,
	    error);
	if (answer != 0) {
		r.collected = true;
		r.place.notify = Notify::none;
	}
	errno = error;
	return answer;
}

uint32_t hash(const std::string &text)
{
	uint32_t h = 2166136261;
	for (const char c : text)
		h = (h ^ uint8_t(c)) * 16777619;
	return h;
}

void start_receiver()
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, the_signal);
	pthread_sigmask(SIG_BLOCK, &set, nullptr);
	struct sigaction action {};
	action.sa_sigaction = take;
	action.sa_flags = SA_SIGINFO | SA_RESTART;
	sigaction(the_signal, &action, nullptr);
	std::thread(receive).detach();
}

} // namespace calls
