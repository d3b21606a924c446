// SPDX-License-Identifier: MIT
//
// Rule 14: where io_uring is refused everything still works, without a word on the
// terminal. Each case runs in a process of its own, under a seccomp filter or without
// memory to lock. (The other contract programs are also run whole under such a filter.)
#define BOOST_TEST_MODULE r14_uring_refused
#include "refusal.hpp"
#include "support.hpp"

#include <grp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <ucontext.h>

#include <array>

// Weak: a C library without them is tested all the same.
extern "C" {
int aio_readv(struct aiocb *) __attribute__((weak));
int aio_writev(struct aiocb *) __attribute__((weak));
}

namespace {

constexpr unsigned io_setup_number = SYS_io_setup, uring_setup_number = 425,
		   uring_enter_number = 426, uring_register_number = 427;

std::atomic<int> signals, functions;

void check_stream(Stream &s)
{
	Request &cancelled = start_read(s.reader, 1);
	const int answer = aio_cancel(s.reader, &cancelled.cb);
	if (answer != AIO_CANCELED)
		put(s.writer, "?");
	BOOST_TEST(finish(cancelled).error != EINPROGRESS);
	Request &outlives = reading(s.reader, 3);
	in_thread([&] { aio_read(&outlives.cb); });
	BOOST_TEST(finish(start_write(s.writer, "abc")) == ok(3));
	BOOST_TEST(finish(outlives) == ok(3));
	Request &large = start_write(s.writer, pattern(1 << 20));
	BOOST_TEST((take(s.reader, 1 << 20) == pattern(1 << 20)));
	BOOST_TEST(finish(large) == ok(1 << 20));
}

void check_file(const FileKind &kind)
{
	File file = make_file(kind);
	std::vector<aiocb *> list;
	for (int i = 0; i < 32; ++i) {
		list.push_back(&writing(file.fd, pattern(16384, i), i * 16384).cb);
		list.back()->aio_lio_opcode = LIO_WRITE;
	}
	BOOST_TEST(lio_listio(LIO_WAIT, list.data(), 32, nullptr) == 0);
	Request &sync = keep(file.fd, 0);
	BOOST_TEST(aio_fsync(O_SYNC, &sync.cb) == 0);
	BOOST_TEST(finish(sync) == ok(0));
	Request &read = start_read(file.fd, 16384, 31 * 16384);
	const aiocb *waiting[] = {&read.cb};
	BOOST_TEST(aio_suspend(waiting, 1, nullptr) == 0);
	BOOST_TEST(finish(read) == ok(16384));
	BOOST_TEST((read.text() == pattern(16384, 31)));
}

void check_notification()
{
	File file = disk_file();
	SignalHandler handler(
		SIGUSR1, +[](int) { ++signals; }, SA_RESTART);
	Request &first = writing(file.fd, "x"), &second = writing(file.fd, "y");
	first.cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
	first.cb.aio_sigevent.sigev_signo = SIGUSR1;
	second.cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
	second.cb.aio_sigevent.sigev_notify_function = [](sigval) { ++functions; };
	BOOST_TEST(aio_write(&first.cb) == 0);
	BOOST_TEST(aio_write(&second.cb) == 0);
	BOOST_TEST(eventually([] { return signals == 1 && functions == 1; }));
}

/// aio_writev and aio_readv of the two halves of `data`.
void check_vectors(int writer, int reader, off_t offset)
{
	std::string const data = pattern(100000);
	std::string to(data.size(), '?'), from = data;
	const auto halves = [](std::string &whole) {
		return std::array<iovec, 2>{{{whole.data(), whole.size() / 2},
					     {&whole[whole.size() / 2], whole.size() / 2}}};
	};
	auto out = halves(from), in = halves(to);
	Request &write = keep(writer, 0, offset), &read = keep(reader, 0, offset);
	write.cb.aio_buf = out.data();
	read.cb.aio_buf = in.data();
	write.cb.aio_nbytes = read.cb.aio_nbytes = 2;
	BOOST_TEST(aio_writev(&write.cb) == 0);
	if (writer == reader)
		BOOST_TEST(finish(write) == ok(100000));
	BOOST_TEST(aio_readv(&read.cb) == 0);
	const Outcome got = finish(read);
	BOOST_TEST((got.error == 0 && got.result > 0 &&
		    to.compare(0, size_t(got.result), data, 0, size_t(got.result)) == 0),
		   got);
	if (writer != reader)
		take(reader, data.size() - size_t(got.result));
	BOOST_TEST(finish(write) == ok(100000));
}

/// What only the file says is still said, and is not taken for a refusal.
void check_sealed()
{
	Fd memory(memfd_create("contract", MFD_ALLOW_SEALING));
	BOOST_TEST(finish(start_write(memory, "abc")) == ok(3));
	BOOST_TEST_REQUIRE(fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE) == 0);
	BOOST_TEST(finish(start_write(memory, "abc")) == failed(EPERM));
	BOOST_TEST(finish(start_read(memory, 3)) == ok(3));
}

/// Sends everything said on standard output and standard error to a file meanwhile.
class Silence {
public:
	Silence() : said_(tmpfs_file()), out_(dup(STDOUT_FILENO)), error_(dup(STDERR_FILENO))
	{
		fflush(nullptr);
		dup2(said_.fd, STDOUT_FILENO);
		dup2(said_.fd, STDERR_FILENO);
	}
	~Silence()
	{
		fflush(nullptr);
		dup2(out_, STDOUT_FILENO);
		dup2(error_, STDERR_FILENO);
		BOOST_TEST(said_.content() == "");
	}

private:
	File said_;
	Fd out_, error_;
};

void check_everything()
{
	Silence silence;
	for_each_stream(check_stream);
	for_each_file_kind(check_file);
	check_sealed();
	if (aio_readv != nullptr) {
		for_each_stream(
			[](Stream &stream) { check_vectors(stream.writer, stream.reader, 0); });
		for_each_file_kind([](const FileKind &kind) {
			if ((kind.flags & O_DIRECT) != 0)
				return; // buffers that are not aligned
			File file = make_file(kind);
			check_vectors(file.fd, file.fd, 1000);
		});
	}
	check_notification();
}

/// The system calls to refuse and the error to give, as "425,426=EPERM's number".
void refuse_as_told()
{
	std::string told = getenv("CONTRACT_REFUSE");
	std::vector<unsigned> calls;
	const size_t equals = told.find('=');
	for (size_t at = 0; at < equals; at = told.find_first_of(",=", at) + 1)
		calls.push_back(static_cast<unsigned>(std::stoul(told.substr(at))));
	if (!refuse(calls, static_cast<unsigned>(std::stoul(told.substr(equals + 1)))))
		skip_program("no seccomp filters");
}
int everything_without(const std::vector<unsigned> &calls, int error)
{
	std::string told;
	for (unsigned call : calls)
		told += (told.empty() ? "" : ",") + std::to_string(call);
	told += "=" + std::to_string(error);
	return run_self("everything_works_here", {{"CONTRACT_REFUSE", told.c_str()}});
}

} // namespace

BOOST_AUTO_TEST_CASE(everything_works_here, *boost::unit_test::disabled())
{
	refuse_as_told();
	check_everything();
}

#ifdef __x86_64__
namespace {
/// What a sandbox does whose filter traps: the call's answer is the handler's.
void answer_for_the_kernel(int, siginfo_t *, void *context)
{
	static_cast<ucontext_t *>(context)->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
}
} // namespace

BOOST_AUTO_TEST_CASE(everything_works_where_calls_trap_here, *boost::unit_test::disabled())
{
	SignalHandler handler(SIGSYS, answer_for_the_kernel, 0);
	BOOST_TEST_REQUIRE(
		trap({uring_setup_number, io_setup_number, SYS_close_range, SYS_pidfd_getfd}));
	check_everything();
}

// The threads of the library are asked by the kernel as well, and must not have SIGSYS blocked.
BOOST_AUTO_TEST_CASE(everything_works_where_a_filter_traps_and_a_handler_answers)
{
	BOOST_TEST(run_self("everything_works_where_calls_trap_here", {}) == 0);
}
#endif

BOOST_AUTO_TEST_CASE(filters_are_allowed_on_this_machine)
{
	if (in_child([] { CHILD_REQUIRE(refuse({uring_setup_number}, EPERM)); }) != 0)
		skip_program("no seccomp filters");
	BOOST_TEST(in_child([] {
			   refuse({uring_setup_number}, EPERM);
			   CHILD_REQUIRE(syscall(uring_setup_number, 1, nullptr) == -1 &&
					 errno == EPERM);
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(everything_works_when_io_uring_is_refused_with_any_error)
{
	for (int error : {ENOSYS, EPERM, EACCES, ENOMEM, EINVAL, EMFILE})
		BOOST_TEST(everything_without({uring_setup_number}, error) == 0,
			   "refused with " << strerrorname_np(error));
}

BOOST_AUTO_TEST_CASE(everything_works_under_a_containers_filter)
{
	for (int error : {ENOSYS, EPERM})
		BOOST_TEST(everything_without(
				   {uring_setup_number, uring_enter_number, uring_register_number},
				   error) == 0);
}

BOOST_AUTO_TEST_CASE(everything_works_without_io_uring_and_without_kernel_aio)
{
	for (int error : {ENOSYS, EPERM})
		BOOST_TEST(everything_without({uring_setup_number, io_setup_number}, error) == 0);
}

BOOST_AUTO_TEST_CASE(everything_works_without_reads_and_writes_that_take_flags)
{
	for (int error : {ENOSYS, EPERM}) {
		BOOST_TEST(everything_without({SYS_preadv2, SYS_pwritev2}, error) == 0,
			   "refused with " << strerrorname_np(error));
		BOOST_TEST(everything_without(
				   {SYS_preadv2, SYS_pwritev2, uring_setup_number, io_setup_number},
				   error) == 0,
			   "all refused with " << strerrorname_np(error));
	}
}

BOOST_AUTO_TEST_CASE(everything_works_where_a_ring_or_a_context_may_be_made_and_not_used)
{
	for (int error : {ENOSYS, EPERM}) {
		BOOST_TEST(everything_without({uring_enter_number}, error) == 0,
			   "refused with " << strerrorname_np(error));
		BOOST_TEST(everything_without({SYS_io_submit}, error) == 0,
			   "refused with " << strerrorname_np(error));
	}
}

// As a server does that locks itself in once it has started.
BOOST_AUTO_TEST_CASE(what_waits_goes_on_under_a_filter_that_comes_later, BETTER_THAN_GLIBC)
{
	BOOST_TEST(in_child([] {
			   std::vector<Stream> streams;
			   std::vector<Request *> requests;
			   for (int i = 0; i < 60; ++i) {
				   streams.push_back(i % 2 == 0 ? pipe_stream() : unix_stream());
				   requests.push_back(&start_read(streams[i].reader, 3));
				   if (i == 30)
					   CHILD_REQUIRE(
						   refuse({uring_setup_number, uring_enter_number,
							   uring_register_number},
							  EPERM, true));
			   }
			   CHILD_REQUIRE(aio_cancel(streams[0].reader, &requests[0]->cb) ==
					 AIO_CANCELED);
			   CHILD_REQUIRE(aio_cancel(streams[59].reader, &requests[59]->cb) ==
					 AIO_CANCELED);
			   for (int i = 1; i < 59; ++i) {
				   CHILD_REQUIRE(aio_error(&requests[i]->cb) == EINPROGRESS);
				   CHILD_REQUIRE(finish(start_write(streams[i].writer, "abc")) ==
						 ok(3));
				   CHILD_REQUIRE(finish(*requests[i]) == ok(3));
				   CHILD_REQUIRE(requests[i]->text() == "abc");
			   }
			   File file = disk_file();
			   CHILD_REQUIRE(finish(start_write(file.fd, pattern(100000))) ==
					 ok(100000));
			   CHILD_REQUIRE(finish(start_read(file.fd, 100000)) == ok(100000));
		   }) == 0);
}

BOOST_AUTO_TEST_CASE(a_child_may_be_refused_what_its_parent_has, BETTER_THAN_GLIBC)
{
	File file = disk_file();
	BOOST_TEST(finish(start_write(file.fd, "x")) == ok(1));
	Stream s = unix_stream();
	Request &pending = start_read(s.reader, 1);
	Fd own(open(file.path.c_str(), O_RDWR));
	const int status = in_child([&] {
		CHILD_REQUIRE(refuse(
			{uring_setup_number, uring_enter_number, uring_register_number}, EPERM));
		Request write_(own, 10, 0), read(own, 10, 0);
		CHILD_REQUIRE(aio_write(&write_.cb) == 0);
		CHILD_REQUIRE(finish(write_) == ok(10));
		CHILD_REQUIRE(aio_read(&read.cb) == 0);
		CHILD_REQUIRE(finish(read) == ok(10));
	});
	BOOST_TEST(status == 0);
	put(s.writer, "x");
	BOOST_TEST(finish(pending) == ok(1));
}

BOOST_AUTO_TEST_CASE(as_a_user_with_little_memory_to_lock, *boost::unit_test::disabled())
{
	const unsigned kibibytes = static_cast<unsigned>(atoi(getenv("CONTRACT_MEMLOCK")));
	const rlimit little{kibibytes * 1024, kibibytes * 1024};
	BOOST_TEST_REQUIRE(setrlimit(RLIMIT_MEMLOCK, &little) == 0);
	if (geteuid() == 0) {
		BOOST_TEST_REQUIRE(chdir("/tmp") == 0);
		BOOST_TEST_REQUIRE(
			(setgroups(0, nullptr) == 0 && setgid(65534) == 0 && setuid(65534) == 0));
	}
	check_everything();
}

BOOST_AUTO_TEST_CASE(everything_works_for_a_user_with_little_memory_to_lock)
{
	for (const char *kibibytes : {"0", "16", "64"})
		BOOST_TEST(run_self("as_a_user_with_little_memory_to_lock",
				    {{"CONTRACT_MEMLOCK", kibibytes}}) == 0);
}
