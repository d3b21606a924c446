// SPDX-License-Identifier: MIT
//
// POSIX.1-2017 <aio.h>: the types, constants and functions it promises, as a program
// sees them that was compiled against the system's header.
#define BOOST_TEST_MODULE posix_header
#include "support.hpp"

#include <cstddef>
#include <type_traits>

// The members and their types.
static_assert(std::is_same_v<decltype(aiocb::aio_fildes), int>);
static_assert(std::is_same_v<decltype(aiocb::aio_offset), off_t>);
static_assert(std::is_same_v<decltype(aiocb::aio_buf), volatile void *>);
static_assert(std::is_same_v<decltype(aiocb::aio_nbytes), size_t>);
static_assert(std::is_same_v<decltype(aiocb::aio_reqprio), int>);
static_assert(std::is_same_v<decltype(aiocb::aio_sigevent), struct sigevent>);
static_assert(std::is_same_v<decltype(aiocb::aio_lio_opcode), int>);

// The layout that binaries were compiled with (x86-64).
static_assert(sizeof(aiocb) == 168 && sizeof(aiocb64) == sizeof(aiocb));
static_assert(offsetof(aiocb, aio_fildes) == 0 && offsetof(aiocb, aio_lio_opcode) == 4);
static_assert(offsetof(aiocb, aio_reqprio) == 8 && offsetof(aiocb, aio_buf) == 16);
static_assert(offsetof(aiocb, aio_nbytes) == 24 && offsetof(aiocb, aio_sigevent) == 32);
static_assert(offsetof(aiocb, aio_offset) == 128);

// The prototypes. Initialisers, for the system's header says noexcept where POSIX does not.
[[maybe_unused]] constexpr struct {
	int (*cancel)(int, aiocb *) = aio_cancel;
	int (*error)(const aiocb *) = aio_error;
	int (*fsync_)(int, aiocb *) = aio_fsync;
	int (*read_)(aiocb *) = aio_read;
	ssize_t (*return_)(aiocb *) = aio_return;
	int (*suspend)(const aiocb *const *, int, const timespec *) = aio_suspend;
	int (*write_)(aiocb *) = aio_write;
	int (*listio)(int, aiocb *const *, int, struct sigevent *) = lio_listio;
} prototypes{};

BOOST_AUTO_TEST_CASE(the_answers_of_aio_cancel_are_three_different_values)
{
	BOOST_TEST(AIO_CANCELED == 0);
	BOOST_TEST(AIO_NOTCANCELED == 1);
	BOOST_TEST(AIO_ALLDONE == 2);
}

BOOST_AUTO_TEST_CASE(the_operations_and_modes_have_the_values_of_the_c_library)
{
	BOOST_TEST(LIO_READ == 0);
	BOOST_TEST(LIO_WRITE == 1);
	BOOST_TEST(LIO_NOP == 2);
	BOOST_TEST(LIO_WAIT == 0);
	BOOST_TEST(LIO_NOWAIT == 1);
}

BOOST_AUTO_TEST_CASE(the_system_says_that_it_has_asynchronous_io)
{
	BOOST_TEST(sysconf(_SC_ASYNCHRONOUS_IO) > 0);
	BOOST_TEST(sysconf(_SC_AIO_PRIO_DELTA_MAX) == 20);
	const long list = sysconf(_SC_AIO_LISTIO_MAX), all = sysconf(_SC_AIO_MAX);
	BOOST_TEST((list == -1 || list >= _POSIX_AIO_LISTIO_MAX));
	BOOST_TEST((all == -1 || all >= _POSIX_AIO_MAX));
}

BOOST_AUTO_TEST_CASE(aio_init_may_be_called_at_any_time_and_changes_no_result)
{
	aioinit settings{};
	settings.aio_threads = 4;
	settings.aio_num = 16;
	settings.aio_idle_time = 1;
	aio_init(&settings);
	File file = disk_file();
	BOOST_TEST(finish(start_write(file.fd, "before")) == ok(6));
	settings.aio_threads = 1;
	settings.aio_num = 1;
	aio_init(&settings);
	std::vector<Request *> writes;
	for (int i = 0; i < 100; ++i)
		writes.push_back(&start_write(file.fd, "x", i));
	for (Request *request : writes)
		BOOST_TEST(finish(*request) == ok(1));
}
