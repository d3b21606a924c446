// SPDX-License-Identifier: MIT
//
// Programs on libaio: waiting for events, signals meanwhile, cancelling, the end of a context.
#define BOOST_TEST_MODULE libaio_waiting
#include "libaio.hpp"

namespace {

std::atomic<int> handled{0};
void handle(int)
{
	handled++;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_time_out_gives_what_there_is)
{
	Context context;
	File file = tmpfs_file();
	put(file.fd, "text");
	io_event events[4];
	timespec brief{0, 2000000};
	BOOST_TEST(io_getevents(context, 1, 4, events, &brief) == 0);
	for (int i = 0; i < 3; i++)
		BOOST_TEST(submit(context, read_op(file.fd, 4)) == 1);
	BOOST_TEST(get(context, 3, 3, events) == 3);
	for (int i = 0; i < 2; i++)
		BOOST_TEST(submit(context, read_op(file.fd, 4)) == 1);
	BOOST_TEST(get(context, 2, 2, events) == 2);
	BOOST_TEST(submit(context, read_op(file.fd, 4)) == 1);
	// The request may need longer than that to end, on a loaded machine.
	int n;
	while ((n = io_getevents(context, 4, 4, events, &brief)) == 0)
		;
	BOOST_TEST(n == 1);
	timespec none{0, 0};
	BOOST_TEST(io_getevents(context, 1, 4, events, &none) == 0);
}

// A negative one never ends: so the kernel reckons.
BOOST_AUTO_TEST_CASE(a_time_out_of_any_length_waits)
{
	for (timespec t :
	     {timespec{LONG_MAX, 0}, timespec{LONG_MAX, LONG_MAX}, timespec{0, LONG_MAX},
	      timespec{20, 2000000000}, timespec{-1, 0}, timespec{0, -1}}) {
		Context context;
		Stream stream = pipe_stream();
		BOOST_TEST(submit(context, poll_op(stream.reader, POLLIN)) == 1);
		io_event event;
		Waiter waiter([&] { return io_getevents(context, 1, 1, &event, &t); });
		BOOST_TEST(waiter.asleep());
		put(stream.writer, "x");
		BOOST_TEST(waiter.returns());
		BOOST_TEST(waiter.result() == 1);
	}
}

// Nobody promised it, but programs rely on it.
BOOST_AUTO_TEST_CASE(a_buffered_transfer_has_ended_for_who_has_time_but_waits_for_none)
{
	Context context;
	File file = disk_file(O_SYNC);
	for (int i = 0; i < 30; i++) {
		BOOST_TEST(submit(context, write_op(file.fd, pattern(10000), i * 5000)) == 1);
		io_event event;
		timespec limit{hang_limit.count(), 0};
		BOOST_TEST_REQUIRE(io_getevents(context, 0, 1, &event, &limit) == 1);
		BOOST_TEST(event.res == 10000u);
	}
	Stream stream = pipe_stream();
	BOOST_TEST(submit(context, poll_op(stream.reader, POLLIN)) == 1);
	io_event event;
	timespec limit{hang_limit.count(), 0};
	BOOST_TEST(io_getevents(context, 0, 1, &event, &limit) == 0);
}

// It may end at any moment of the call: the call begins a little later each time.
BOOST_AUTO_TEST_CASE(a_buffered_transfer_that_ends_during_such_a_call_is_not_missed)
{
	Context context;
	File file = tmpfs_file();
	Op &write = write_op(file.fd, pattern(256));
	constexpr int rounds = 10000, longest = 60000;
	timespec limit{hang_limit.count(), 0};
	int missed = 0;
	for (int i = 0; i < rounds; i++) {
		BOOST_TEST_REQUIRE(submit(context, write) == 1);
		for (int j = 0; j < i * 7 % longest; j++)
			asm volatile("");
		io_event event;
		if (io_getevents(context, 0, 1, &event, &limit) == 1)
			continue;
		missed++;
		BOOST_TEST_REQUIRE(io_getevents(context, 1, 1, &event, nullptr) == 1);
	}
	BOOST_TEST(missed == 0);
}

BOOST_AUTO_TEST_CASE(at_least_min_nr_are_waited_for)
{
	Context context;
	Stream stream[3] = {pipe_stream(), pipe_stream(), pipe_stream()};
	for (Stream &s : stream)
		BOOST_TEST(submit(context, poll_op(s.reader, POLLIN)) == 1);
	io_event events[8];
	Waiter waiter([&] { return get(context, 3, 8, events); });
	for (Stream &s : stream) {
		BOOST_TEST(waiter.asleep());
		put(s.writer, "x");
	}
	BOOST_TEST(waiter.returns());
	BOOST_TEST(waiter.result() == 3);
}

BOOST_AUTO_TEST_CASE(a_signal_ends_the_wait_with_eintr_also_with_sa_restart)
{
	for (int flags : {0, SA_RESTART})
		for (bool limited : {false, true}) {
			SignalHandler handler(SIGUSR1, handle, flags);
			Context context;
			io_event event;
			timespec limit{hang_limit.count(), 0};
			Waiter waiter([&] {
				return io_getevents(context, 1, 1, &event,
						    limited ? &limit : nullptr);
			});
			BOOST_TEST(waiter.interrupt(SIGUSR1));
			BOOST_TEST(waiter.result() == -EINTR);
		}
}

BOOST_AUTO_TEST_CASE(a_signal_does_not_lose_what_has_been_taken)
{
	SignalHandler handler(SIGUSR1, handle, SA_RESTART);
	Context context;
	File file = tmpfs_file();
	put(file.fd, "text");
	BOOST_TEST(submit(context, read_op(file.fd, 4)) == 1);
	BOOST_TEST(eventually([&] { return context.ring()->tail != 0; }));
	io_event events[2];
	Waiter waiter([&] { return get(context, 2, 2, events); });
	BOOST_TEST(waiter.asleep());
	BOOST_TEST(waiter.interrupt(SIGUSR1));
	BOOST_TEST(waiter.result() == 1);
	BOOST_TEST(events[0].res == 4u);
}

BOOST_AUTO_TEST_CASE(a_signal_that_is_ignored_or_blocked_interrupts_nothing)
{
	Context context;
	Stream stream = pipe_stream();
	BOOST_TEST(submit(context, poll_op(stream.reader, POLLIN)) == 1);
	io_event event;
	Waiter waiter([&] {
		sigset_t set;
		sigemptyset(&set);
		sigaddset(&set, SIGUSR2);
		pthread_sigmask(SIG_BLOCK, &set, nullptr);
		return get(context, 1, 1, &event);
	});
	SignalHandler ignored(SIGUSR1, SIG_IGN), blocked(SIGUSR2, handle);
	BOOST_TEST(waiter.asleep());
	waiter.send(SIGUSR1);
	waiter.send(SIGUSR2);
	usleep(5000);
	put(stream.writer, "x");
	BOOST_TEST(waiter.returns());
	BOOST_TEST(waiter.result() == 1);
}

// The library's own work must not show either.
BOOST_AUTO_TEST_CASE(requests_that_end_elsewhere_interrupt_no_wait)
{
	Context waiting, working(256);
	Stream stream = pipe_stream();
	BOOST_TEST(submit(waiting, poll_op(stream.reader, POLLIN)) == 1);
	io_event event;
	Waiter waiter([&] { return get(waiting, 1, 1, &event); });
	for_each_file_kind([&](const FileKind &kind) {
		File file = make_file(kind);
		for (int i = 0; i < 50; i++)
			BOOST_TEST(run(working, write_op(file.fd, pattern(4096), i * 4096)) ==
				   4096);
	});
	BOOST_TEST(waiter.asleep());
	put(stream.writer, "x");
	BOOST_TEST(waiter.returns());
	BOOST_TEST(waiter.result() == 1);
}

BOOST_AUTO_TEST_CASE(io_pgetevents_lets_signals_in_for_the_wait_alone)
{
	SignalHandler handler(SIGUSR1, handle, SA_RESTART);
	Context context;
	Stream stream = pipe_stream();
	sigset_t none, usr1, before;
	sigemptyset(&none);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, &before);
	// Pending before the call.
	for (long seconds : {0l, 20l}) {
		handled = 0;
		pthread_kill(pthread_self(), SIGUSR1);
		io_event event;
		timespec limit{seconds, 0};
		// libaio asks the kernel nothing when it sees an empty ring and is not to wait.
		if (ours() || seconds != 0) {
			BOOST_TEST(io_pgetevents(context, 1, 1, &event, &limit, &none) == -EINTR);
			BOOST_TEST(handled == 1);
		}
	}
	sigset_t now;
	pthread_sigmask(SIG_SETMASK, nullptr, &now);
	BOOST_TEST(sigismember(&now, SIGUSR1) == 1);
	// Before, it is blocked; then let in; an event ends the wait as well.
	io_event event;
	Waiter waiter([&] { return io_pgetevents(context, 1, 1, &event, nullptr, &none); });
	BOOST_TEST(waiter.interrupt(SIGUSR1));
	BOOST_TEST(waiter.result() == -EINTR);
	BOOST_TEST(submit(context, poll_op(stream.reader, POLLIN)) == 1);
	Waiter other([&] { return io_pgetevents(context, 1, 1, &event, nullptr, &none); });
	BOOST_TEST(other.asleep());
	put(stream.writer, "x");
	BOOST_TEST(other.returns());
	BOOST_TEST(other.result() == 1);
	// The mask of the call blocks.
	pthread_sigmask(SIG_SETMASK, &before, nullptr);
	Waiter third([&] { return io_pgetevents(context, 1, 1, &event, nullptr, &usr1); });
	BOOST_TEST(third.asleep());
	handled = 0;
	third.send(SIGUSR1);
	BOOST_TEST(third.asleep());
	BOOST_TEST(handled == 0);
	Op &op = poll_op(stream.reader, POLLIN);
	BOOST_TEST(submit(context, op) == 1);
	BOOST_TEST(third.returns());
	BOOST_TEST(third.result() == 1);
	BOOST_TEST(eventually([] { return handled == 1; }));
}

BOOST_AUTO_TEST_CASE(a_mask_that_is_none_is_io_getevents)
{
	Context context;
	File file = tmpfs_file();
	put(file.fd, "text");
	BOOST_TEST(submit(context, read_op(file.fd, 4)) == 1);
	io_event event;
	BOOST_TEST(io_pgetevents(context, 1, 1, &event, nullptr, nullptr) == 1);
	struct {
		const sigset_t *mask;
		size_t size;
	} wrong{reinterpret_cast<sigset_t *>(&context), 5};
	BOOST_TEST(syscall(SYS_io_pgetevents, io_context_t(context), 0l, 1l, &event, nullptr,
			   &wrong) == -1);
	BOOST_TEST(errno == EINVAL);
}

BOOST_AUTO_TEST_CASE(a_poll_that_is_cancelled_ends_with_an_event_of_nothing)
{
	Context context;
	Stream stream = pipe_stream();
	Op &op = poll_op(stream.reader, POLLIN), &other = poll_op(stream.reader, POLLIN);
	BOOST_TEST(submit(context, op) == 1);
	BOOST_TEST(submit(context, other) == 1);
	BOOST_TEST(io_cancel(context, &op.cb, nullptr) == -EINPROGRESS);
	const io_event event = next(context);
	BOOST_TEST(event.obj == &op.cb);
	BOOST_TEST(event.res == 0u);
	BOOST_TEST(io_cancel(context, &op.cb, nullptr) == -EINVAL);
	put(stream.writer, "x");
	BOOST_TEST(next(context).obj == &other.cb);
	BOOST_TEST(io_cancel(context, &other.cb, nullptr) == -EINVAL);
}

BOOST_AUTO_TEST_CASE(io_cancel_is_of_one_context)
{
	Context context, other;
	Stream stream = pipe_stream();
	Op &op = poll_op(stream.reader, POLLIN);
	BOOST_TEST(submit(context, op) == 1);
	BOOST_TEST(io_cancel(other, &op.cb, nullptr) == -EINVAL);
	BOOST_TEST(io_cancel(context, &op.cb, nullptr) == -EINPROGRESS);
}

BOOST_AUTO_TEST_CASE(of_several_requests_of_one_iocb_the_poll_is_cancelled)
{
	Context context;
	Stream stream = pipe_stream();
	File file = disk_file();
	Op &op = poll_op(stream.reader, POLLIN);
	const iocb poll = op.cb;
	op.cb = write_op(file.fd, pattern(4096)).cb;
	BOOST_TEST(submit(context, op) == 1);
	op.cb = poll;
	BOOST_TEST(submit(context, op) == 1);
	BOOST_TEST(io_cancel(context, &op.cb, nullptr) == -EINPROGRESS);
	io_event events[2];
	BOOST_TEST(get(context, 2, 2, events) == 2);
}

BOOST_AUTO_TEST_CASE(io_destroy_ends_waiters_and_cancels_polls)
{
	for (bool masked : {false, true}) {
		Context context;
		Stream stream = pipe_stream();
		for (int i = 0; i < 10; i++)
			BOOST_TEST(submit(context, poll_op(stream.reader, POLLIN)) == 1);
		io_event events[16];
		sigset_t none;
		sigemptyset(&none);
		const io_context_t handle = context.release();
		const auto wait = [&, handle] {
			return masked ? io_pgetevents(handle, 16, 16, events, nullptr, &none)
				      : io_getevents(handle, 16, 16, events, nullptr);
		};
		Waiter first(wait), second(wait);
		BOOST_TEST(first.asleep());
		BOOST_TEST(second.asleep());
		BOOST_TEST(io_destroy(handle) == 0);
		BOOST_TEST(first.returns());
		BOOST_TEST(second.returns());
		BOOST_TEST(first.result() == -EINVAL);
		BOOST_TEST(second.result() == -EINVAL);
	}
}

BOOST_AUTO_TEST_CASE(io_destroy_waits_for_what_moves_data)
{
	File file = disk_file();
	for (int round = 0; round < 10; round++) {
		Context context;
		std::string const text = pattern(100000, static_cast<unsigned>(round + 1));
		BOOST_TEST(submit(context, write_op(file.fd, text)) == 1);
		BOOST_TEST(io_destroy(context.release()) == 0);
		BOOST_TEST((file.content() == text));
	}
}

BOOST_AUTO_TEST_CASE(a_thread_that_waits_can_be_cancelled_if_its_type_is_asynchronous)
{
	Context context;
	struct Args {
		io_context_t context;
		std::atomic<pid_t> id;
	} args{context, {0}};
	const auto wait = [](void *p) -> void * {
		auto *const a = static_cast<Args *>(p);
		pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, nullptr);
		a->id = thread_id();
		io_event event;
		return reinterpret_cast<void *>(
			static_cast<long>(io_getevents(a->context, 1, 1, &event, nullptr)));
	};
	pthread_t thread;
	BOOST_TEST_REQUIRE(pthread_create(&thread, nullptr, wait, &args) == 0);
	BOOST_TEST(eventually([&] { return args.id != 0 && thread_state(args.id) == 'S'; }));
	pthread_cancel(thread);
	void *result;
	pthread_join(thread, &result);
	BOOST_TEST(result == PTHREAD_CANCELED);
	File file = tmpfs_file();
	put(file.fd, "text");
	BOOST_TEST(run(context, read_op(file.fd, 4)) == 4);
}

// ------------------------------------------------- what the kernel waits for

BOOST_AUTO_TEST_CASE(io_submit_never_waits)
{
	if (!ours())
		return;
	for_each_stream([&](Stream &stream) {
		Context context;
		Op &in = read_op(stream.reader, 5);
		BOOST_TEST(submit(context, in) == 1);
		io_event event;
		timespec none{};
		BOOST_TEST(io_getevents(context, 1, 1, &event, &none) == 0);
		put(stream.writer, "later");
		BOOST_TEST(next(context).obj == &in.cb);
		BOOST_TEST(in.text() == "later");
		if (stream.duplex)
			return;
		fill(stream.writer);
		Op &out = write_op(stream.writer, pattern(200000));
		BOOST_TEST(submit(context, out) == 1);
		BOOST_TEST(io_getevents(context, 1, 1, &event, &none) == 0);
		stream.reader.reset();
		BOOST_TEST(static_cast<long>(next(context).res) == -EPIPE);
	});
}

BOOST_AUTO_TEST_CASE(a_read_that_waits_on_a_stream_ends_with_its_context)
{
	if (!ours())
		return;
	Stream stream = pipe_stream();
	{
		Context context;
		BOOST_TEST(submit(context, read_op(stream.reader, 5)) == 1);
		Op &other = read_op(stream.reader, 5);
		BOOST_TEST(submit(context, other) == 1);
		BOOST_TEST(io_cancel(context, &other.cb, nullptr) == -EINPROGRESS);
	}
	put(stream.writer, "still there");
	BOOST_TEST(take(stream.reader, 11) == "still there");
}

BOOST_AUTO_TEST_CASE(a_nonblocking_stream_is_eagain)
{
	Context context;
	Stream stream = pipe_stream();
	set_nonblocking(stream.reader);
	BOOST_TEST(run(context, read_op(stream.reader, 5)) == -EAGAIN);
}
