// SPDX-License-Identifier: MIT
//
// Rule 12, SIGEV_THREAD: status first, then the function; empty signal mask; the
// attributes honoured; the function runs even if no such thread can be made.
#define BOOST_TEST_MODULE r12_thread_notification
#include "support.hpp"

#include "processes.hpp"

#include <algorithm>
#include <fenv.h>
#include <list>
#include <locale.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/resource.h>

namespace {

/// What a notification function found; one for each case.
struct Report {
	aiocb *cb = nullptr;
	std::atomic<int> calls{0}, error{-1}, signals_blocked{-1};
	std::atomic<ssize_t> result{-2};
	std::atomic<size_t> stack{0};
	std::atomic<int> processor{-1}, processors{-1};
	std::atomic<pid_t> thread{0};
};

int blocked_signals()
{
	sigset_t mask;
	pthread_sigmask(SIG_SETMASK, nullptr, &mask);
	int blocked = 0;
	for (int number = 1; number <= SIGRTMAX; ++number)
		blocked += sigismember(&mask, number) == 1;
	return blocked;
}

void report(sigval value)
{
	auto *found = static_cast<Report *>(value.sival_ptr);
	pthread_attr_t attributes;
	cpu_set_t allowed;
	size_t stack = 0;
	if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
		pthread_attr_getstacksize(&attributes, &stack);
		pthread_attr_destroy(&attributes);
	}
	found->stack = stack;
	if (pthread_getaffinity_np(pthread_self(), sizeof allowed, &allowed) == 0) {
		found->processors = CPU_COUNT(&allowed);
		found->processor = sched_getcpu();
	}
	found->signals_blocked = blocked_signals();
	found->thread = thread_id();
	if (found->cb != nullptr) {
		found->error = aio_error(found->cb);
		found->result = aio_return(found->cb);
	}
	++found->calls;
}

/// Never freed: a function that comes too late must not write into another case's memory.
Report &new_report()
{
	return *new Report;
}

/// Kept until the end: pthread_create still looks at them when the function runs already.
pthread_attr_t &new_attributes()
{
	static auto &all = *new std::list<pthread_attr_t>;
	pthread_attr_t &attributes = all.emplace_back();
	pthread_attr_init(&attributes);
	return attributes;
}

Request &calling(Request &request, void (*function)(sigval), void *data,
		 pthread_attr_t *attributes = nullptr)
{
	request.cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
	request.cb.aio_sigevent.sigev_notify_function = function;
	request.cb.aio_sigevent.sigev_notify_attributes = attributes;
	request.cb.aio_sigevent.sigev_value.sival_ptr = data;
	return request;
}

bool called(const Report &found, int times = 1)
{
	return eventually([&] { return found.calls >= times; }) && found.calls == times;
}

} // namespace

BOOST_AUTO_TEST_CASE(the_function_finds_the_status_set)
{
	for_each_stream([](Stream &s) {
		Report &found = new_report();
		Request &request = calling(reading(s.reader, 5), report, &found);
		found.cb = &request.cb;
		BOOST_TEST_REQUIRE(aio_read(&request.cb) == 0);
		put(s.writer, "hello");
		BOOST_TEST(called(found));
		BOOST_TEST((Outcome{found.error, found.result}) == ok(5));
	});
	for_each_file_kind([](const FileKind &kind) {
		File file = make_file(kind);
		Report &found = new_report();
		Request &request = calling(writing(file.fd, pattern(4096)), report, &found);
		found.cb = &request.cb;
		BOOST_TEST_REQUIRE(aio_write(&request.cb) == 0);
		BOOST_TEST(called(found));
		BOOST_TEST((Outcome{found.error, found.result}) == ok(4096));
	});
}

BOOST_AUTO_TEST_CASE(fsync_and_failed_requests_call_the_function_too)
{
	File file = disk_file();
	Report &sync_found = new_report(), &bad_found = new_report();
	Request &sync = calling(keep(file.fd, 0), report, &sync_found),
		&bad = calling(reading(-1, 1), report, &bad_found);
	sync_found.cb = &sync.cb;
	bad_found.cb = &bad.cb;
	BOOST_TEST_REQUIRE(aio_fsync(O_SYNC, &sync.cb) == 0);
	BOOST_TEST_REQUIRE(aio_read(&bad.cb) == 0);
	BOOST_TEST(called(sync_found));
	BOOST_TEST(called(bad_found));
	BOOST_TEST((Outcome{sync_found.error, sync_found.result}) == ok(0));
	BOOST_TEST((Outcome{bad_found.error, bad_found.result}) == failed(EBADF));
}

BOOST_AUTO_TEST_CASE(the_function_runs_on_another_thread_with_an_empty_signal_mask)
{
	sigset_t all, old;
	sigfillset(&all);
	File file = disk_file();
	Report &found = new_report();
	Request &request = calling(writing(file.fd, "x"), report, &found);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	const int submitted = aio_write(&request.cb);
	pthread_sigmask(SIG_SETMASK, &old, nullptr);
	BOOST_TEST_REQUIRE(submitted == 0);
	BOOST_TEST(called(found));
	BOOST_TEST(found.signals_blocked == 0);
	BOOST_TEST(found.thread != thread_id());
}

BOOST_AUTO_TEST_CASE(the_stack_size_is_honoured)
{
	File file = disk_file();
	for (size_t size : {size_t{256} << 10, size_t{40} << 20}) {
		pthread_attr_t &attributes = new_attributes();
		pthread_attr_setstacksize(&attributes, size);
		Report &found = new_report();
		Request &request = calling(writing(file.fd, "x"), report, &found, &attributes);
		BOOST_TEST_REQUIRE(aio_write(&request.cb) == 0);
		BOOST_TEST(called(found));
		BOOST_TEST(found.stack >= size);
	}
}

BOOST_AUTO_TEST_CASE(the_affinity_is_honoured)
{
	cpu_set_t allowed, one;
	BOOST_TEST_REQUIRE(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
	File file = disk_file();
	for (int processor = 0; processor < CPU_SETSIZE; ++processor) {
		if (!CPU_ISSET(processor, &allowed))
			continue;
		CPU_ZERO(&one);
		CPU_SET(processor, &one);
		pthread_attr_t &attributes = new_attributes();
		pthread_attr_setaffinity_np(&attributes, sizeof one, &one);
		Report &found = new_report();
		Request &request = calling(writing(file.fd, "x"), report, &found, &attributes);
		BOOST_TEST_REQUIRE(aio_write(&request.cb) == 0);
		BOOST_TEST(called(found));
		BOOST_TEST(found.processors == 1);
		BOOST_TEST(found.processor == processor);
	}
}

BOOST_AUTO_TEST_CASE(detached_attributes_are_fine)
{
	File file = disk_file();
	pthread_attr_t &attributes = new_attributes();
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	Report &found = new_report();
	Request &request = calling(writing(file.fd, "x"), report, &found, &attributes);
	BOOST_TEST_REQUIRE(aio_write(&request.cb) == 0);
	BOOST_TEST(called(found));
}

// glibc says nothing when pthread_create fails.
BOOST_AUTO_TEST_CASE(the_function_runs_even_if_no_such_thread_can_be_made, BETTER_THAN_GLIBC)
{
	pthread_attr_t &attributes = new_attributes();
	BOOST_TEST_REQUIRE(pthread_attr_setstacksize(&attributes, size_t{1} << 46) == 0);
	File file = disk_file();
	for (int i = 0; i < 10; ++i) {
		Report &found = new_report();
		Request &request = calling(writing(file.fd, "x"), report, &found, &attributes);
		found.cb = &request.cb;
		BOOST_TEST_REQUIRE(aio_write(&request.cb) == 0);
		BOOST_TEST(called(found));
		BOOST_TEST((Outcome{found.error, found.result}) == ok(1));
		BOOST_TEST(found.signals_blocked == 0);
	}
}

// Buffered or not, a request is taken and told of, or refused: never taken and forgotten.
BOOST_AUTO_TEST_CASE(where_no_thread_can_be_made_no_request_is_taken_that_is_not_told_of,
		     BETTER_THAN_GLIBC)
{
	for (int flags : {0, O_DIRECT}) {
		File file(disk_directory(), O_RDWR | flags);
		if (file.fd < 0)
			continue;
		put(Fd(open(file.path.c_str(), O_WRONLY)), pattern(8192));
		fsync(file.fd); // what is still in the cache is no read for the kernel's own AIO
		const int status = in_child([&] {
			rlimit const none{0, 0};
			CHILD_REQUIRE(geteuid() != 0 ||
				      setresuid(65534, 65534, 65534) ==
					      0); // there is no such limit for root
			CHILD_REQUIRE(setrlimit(RLIMIT_NPROC, &none) == 0);
			Report &found = new_report();
			Request &request = calling(keep(file.fd, 8192), report, &found);
			request.cb.aio_buf = reinterpret_cast<void *>(
				(reinterpret_cast<uintptr_t>(request.data()) + 4095) &
				~uintptr_t{4095});
			request.cb.aio_nbytes = 4096;
			if (aio_read(&request.cb) == 0)
				CHILD_REQUIRE(called(found));
			else
				CHILD_REQUIRE(errno == EAGAIN);
		});
		BOOST_TEST(status == 0);
	}
}

BOOST_AUTO_TEST_CASE(each_of_many_requests_calls_its_function_once)
{
	Stream s = unix_stream();
	File file = disk_file();
	std::vector<Report *> reports;
	for (int i = 0; i < 500; ++i) {
		reports.push_back(&new_report());
		Request &request = i % 2 == 0 ? reading(s.reader, 1) : writing(file.fd, "x", i);
		calling(request, report, reports.back());
		reports.back()->cb = &request.cb;
		BOOST_TEST_REQUIRE((i % 2 == 0 ? aio_read(&request.cb) : aio_write(&request.cb)) ==
				   0);
	}
	put(s.writer, std::string(250, 'x'));
	for (Report *found : reports)
		BOOST_TEST_REQUIRE(called(*found));
	for (Report *found : reports) {
		BOOST_TEST(found->calls == 1);
		BOOST_TEST((Outcome{found->error, found->result}) == ok(1));
	}
}

namespace {

struct Leaver {
	std::atomic<int> cleanups{0};
};
void count_cleanup(void *data)
{
	++static_cast<Leaver *>(data)->cleanups;
}
void leave_by_pthread_exit(sigval value)
{
	pthread_cleanup_push(count_cleanup, value.sival_ptr);
	pthread_exit(nullptr);
	pthread_cleanup_pop(0);
}

struct Gate {
	sem_t open;
	std::atomic<int> waiting{0}, passed{0};
	Gate() { sem_init(&open, 0, 0); }
};
void wait_at_gate(sigval value)
{
	auto *gate = static_cast<Gate *>(value.sival_ptr);
	++gate->waiting;
	while (sem_wait(&gate->open) != 0) {
	}
	++gate->passed;
}

} // namespace

BOOST_AUTO_TEST_CASE(the_function_may_leave_by_pthread_exit)
{
	File file = disk_file();
	auto &leaver = *new Leaver;
	for (int i = 0; i < 100; ++i) {
		Request &request = calling(writing(file.fd, "x"), leave_by_pthread_exit, &leaver);
		BOOST_TEST_REQUIRE(aio_write(&request.cb) == 0);
	}
	BOOST_TEST(eventually([&] { return leaver.cleanups == 100; }));
	Report &found = new_report();
	Request &request = calling(writing(file.fd, "x"), report, &found);
	BOOST_TEST_REQUIRE(aio_write(&request.cb) == 0);
	BOOST_TEST(called(found));
	BOOST_TEST(found.signals_blocked == 0);
}

BOOST_AUTO_TEST_CASE(functions_that_block_hold_up_nobody)
{
	auto &gate = *new Gate;
	Stream s = unix_stream();
	File file = disk_file();
	for (int i = 0; i < 50; ++i) {
		Request &request = calling(writing(file.fd, "x"), wait_at_gate, &gate);
		BOOST_TEST_REQUIRE(aio_write(&request.cb) == 0);
	}
	BOOST_TEST(eventually([&] { return gate.waiting == 50; }));
	Request &read = start_read(s.reader, 1);
	BOOST_TEST(finish(start_write(s.writer, "x")) == ok(1));
	BOOST_TEST(finish(read) == ok(1));
	Report &found = new_report();
	Request &request = calling(writing(file.fd, "x"), report, &found);
	BOOST_TEST_REQUIRE(aio_write(&request.cb) == 0);
	BOOST_TEST(called(found));
	BOOST_TEST(gate.passed == 0);
	for (int i = 0; i < 50; ++i)
		sem_post(&gate.open);
	BOOST_TEST(eventually([&] { return gate.passed == 50; }));
}

// Functions that wait for a thread do not become more and more: beyond 1,024 of them a submission
// waits 8 ms before 8 more may wait. No thread can be had here, so as many wait as were submitted.
BOOST_AUTO_TEST_CASE(functions_that_wait_for_their_submitter_hold_it_up_for_a_moment_only,
		     BETTER_THAN_GLIBC)
{
	const int status = in_child([] {
		using namespace std::chrono;
		constexpr int bound = 1024, more = 8, many = 1400;
		constexpr milliseconds moment{8};
		File file = disk_file();
		put(file.fd, "x");
		Report &found = new_report();
		Request &first = calling(reading(file.fd, 1), report, &found);
		CHILD_REQUIRE(aio_read(&first.cb) == 0);
		CHILD_REQUIRE(called(found));
		rlimit const none{0, 0};
		// There is no such limit for root.
		CHILD_REQUIRE(geteuid() != 0 || setresuid(65534, 65534, 65534) == 0);
		CHILD_REQUIRE(setrlimit(RLIMIT_NPROC, &none) == 0);
		auto &gate = *new Gate;
		const auto begin = steady_clock::now();
		for (int i = 0; i < many; ++i) {
			Request &request = calling(reading(file.fd, 1), wait_at_gate, &gate);
			CHILD_REQUIRE(aio_read(&request.cb) == 0);
			// Its function waits once it has ended.
			CHILD_REQUIRE(finish(request) == ok(1));
		}
		// Half of the moments that it must have waited for; more is not too long.
		CHILD_REQUIRE(steady_clock::now() - begin >= moment * ((many - bound) / more) / 2);
		for (int i = 0; i < many; ++i)
			sem_post(&gate.open);
		CHILD_REQUIRE(eventually([&] { return gate.passed == many; }));
	});
	BOOST_TEST(status == 0);
}

namespace {

struct Chain {
	Request *request;
	std::atomic<int> left;
};
void submit_again(sigval value)
{
	auto *chain = static_cast<Chain *>(value.sival_ptr);
	if (--chain->left > 0 && aio_write(&chain->request->cb) != 0)
		abort();
}

} // namespace

BOOST_AUTO_TEST_CASE(the_function_may_submit_its_own_aiocb_again)
{
	File file = disk_file();
	auto &chain = *new Chain{nullptr, {300}};
	chain.request = &calling(writing(file.fd, "x"), submit_again, &chain);
	BOOST_TEST_REQUIRE(aio_write(&chain.request->cb) == 0);
	BOOST_TEST(eventually([&] { return chain.left == 0; }));
}

BOOST_AUTO_TEST_CASE(the_function_may_free_the_aiocb)
{
	File file = disk_file();
	static std::atomic<int> freed;
	freed = 0;
	for (int i = 0; i < 200; ++i) {
		auto *request = new Request(file.fd, 4096, 0);
		calling(
			*request,
			[](sigval value) {
				auto *mine = static_cast<Request *>(value.sival_ptr);
				memset(&mine->cb, 0xdd, sizeof mine->cb);
				delete mine;
				++freed;
			},
			request);
		BOOST_TEST_REQUIRE(aio_write(&request->cb) == 0);
	}
	BOOST_TEST(eventually([] { return freed == 200; }));
}

BOOST_AUTO_TEST_CASE(the_value_passed_is_the_one_given)
{
	static std::atomic<int> number;
	number = 0;
	File file = disk_file();
	Request &request = calling(
		writing(file.fd, "x"), [](sigval value) { number = value.sival_int; }, nullptr);
	request.cb.aio_sigevent.sigev_value.sival_int = 4711;
	BOOST_TEST_REQUIRE(aio_write(&request.cb) == 0);
	BOOST_TEST(eventually([] { return number == 4711; }));
}

// ---- without attributes: what a new thread has ----

namespace {

thread_local int of_the_function = 0;
struct Surroundings {
	std::atomic<int> calls{0}, variable{-1}, rounding{-1}, processors{-1}, filled{-1};
	std::atomic<bool> own_locale{false};
};

/// Notes what it finds, then leaves everything changed.
void look_and_change(sigval value)
{
	auto *found = static_cast<Surroundings *>(value.sival_ptr);
	cpu_set_t allowed;
	found->variable = of_the_function++;
	found->rounding = fegetround();
	found->own_locale = uselocale(static_cast<locale_t>(nullptr)) != LC_GLOBAL_LOCALE;
	if (pthread_getaffinity_np(pthread_self(), sizeof allowed, &allowed) == 0)
		found->processors = CPU_COUNT(&allowed);
	fesetround(FE_UPWARD);
	uselocale(newlocale(LC_ALL_MASK, "C", static_cast<locale_t>(nullptr)));
	CPU_ZERO(&allowed);
	CPU_SET(sched_getcpu(), &allowed);
	pthread_setaffinity_np(pthread_self(), sizeof allowed, &allowed);
	++found->calls;
}

void fill_a_large_array(sigval value)
{
	volatile char array[1 << 20];
	for (size_t i = 0; i < sizeof array; i += 4096)
		array[i] = 1;
	static_cast<Surroundings *>(value.sival_ptr)->filled = array[4096];
	++static_cast<Surroundings *>(value.sival_ptr)->calls;
}

} // namespace

BOOST_AUTO_TEST_CASE(a_function_finds_nothing_that_an_earlier_one_has_left)
{
	File file = disk_file();
	BOOST_TEST(finish(start_write(file.fd, "x")) == ok(1));
	auto *found = new Surroundings;
	cpu_set_t allowed;
	BOOST_REQUIRE(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
	for (int i = 0; i < 20; ++i) {
		BOOST_REQUIRE(aio_read(&calling(reading(file.fd, 1), look_and_change, found).cb) ==
			      0);
		BOOST_TEST_REQUIRE(eventually([&] { return found->calls == i + 1; }));
		BOOST_TEST(found->variable == 0);
		BOOST_TEST(found->rounding == FE_TONEAREST);
		BOOST_TEST(!found->own_locale);
		BOOST_TEST(found->processors == CPU_COUNT(&allowed));
	}
}

BOOST_AUTO_TEST_CASE(a_function_has_the_default_stack)
{
	File file = disk_file();
	auto *found = new Surroundings;
	BOOST_REQUIRE(aio_read(&calling(reading(file.fd, 1), fill_a_large_array, found).cb) == 0);
	BOOST_TEST(eventually([&] { return found->calls == 1; }));
	BOOST_TEST(found->filled == 1);
}
