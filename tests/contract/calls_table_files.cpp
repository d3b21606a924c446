// SPDX-License-Identifier: MIT
//
// Reading, writing and synchronising files, devices and everything else that has no other end, and
// the wrong calls on them, compared with the system call (table.hpp).
#define BOOST_TEST_MODULE calls_table_files
#include "table.hpp"

#include <mqueue.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

namespace contract {

const std::vector<Known> known_cells{};

} // namespace contract

namespace {

// ---------------------------------------------------------------------- files

std::string content_of(World &w)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", int(w.third));
	const Fd in(open(path, O_RDONLY | O_CLOEXEC));
	std::string text(200000, '\0');
	const ssize_t n = read(in, text.data(), text.size());
	text.resize(size_t(std::max(n, ssize_t{0})));
	struct stat status {};
	fstat(w.third, &status);
	const off_t position = lseek(w.subject(), 0, SEEK_CUR);
	return "; file: " + std::to_string(status.st_size) + " " + shown(text) + " at " +
	       std::to_string(position);
}
World file_world(const std::string &directory, int flags, std::string_view data)
{
	World world;
	std::string const path = directory == "memfd" ? "" : temp_name(directory);
	if (directory == "memfd") {
		world.third.reset(memfd_create("table", MFD_CLOEXEC | MFD_ALLOW_SEALING));
		world.fd.reset(open(("/proc/self/fd/" + std::to_string(world.third)).c_str(),
				    flags | O_CLOEXEC));
	} else {
		world.third.reset(open(path.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
		world.fd.reset(open(path.c_str(), flags | O_CLOEXEC));
		world.remove.push_back(path);
	}
	BOOST_TEST_REQUIRE(world.third >= 0);
	if (!data.empty())
		BOOST_TEST_REQUIRE(pwrite(world.third, data.data(), data.size(), 0) ==
				   ssize_t(data.size()));
	world.look = content_of;
	return world;
}
std::vector<Scene> scenes_of_files()
{
	std::vector<Scene> out;
	constexpr std::pair<const char *, int> modes[] = {
		{"O_RDWR", O_RDWR},
		{"O_RDONLY", O_RDONLY},
		{"O_WRONLY", O_WRONLY},
		{"O_RDWR|O_APPEND", O_RDWR | O_APPEND},
		{"O_RDWR|O_SYNC", O_RDWR | O_SYNC},
		{"O_RDWR|O_NONBLOCK", O_RDWR | O_NONBLOCK},
		{"O_RDWR|O_DIRECT", O_RDWR | O_DIRECT},
		{"O_PATH", O_PATH},
		{"O_WRONLY|O_APPEND|O_DSYNC", O_WRONLY | O_APPEND | O_DSYNC}};
	for (const std::string &directory :
	     {disk_directory(), std::string("/dev/shm"), std::string("memfd")})
		for (const auto &[name, flags] : modes) {
			std::string const kind = directory == "/dev/shm" ? "tmpfs file"
						 : directory == "memfd"  ? "memfd"
									 : "disk file";
			out.push_back({kind, name, [directory, flags = flags] {
					       return file_world(directory, flags, "0123456789");
				       }});
		}
	for (const auto &[name, seals] :
	     {std::pair{"sealed for writing", F_SEAL_WRITE}, {"sealed for growing", F_SEAL_GROW}})
		out.push_back({"memfd", name, [seals = seals] {
				       World world = file_world("memfd", O_RDWR, "0123456789");
				       fcntl(world.third, F_ADD_SEALS, seals);
				       return world;
			       }});
	out.push_back(
		{"disk file", "empty", [] { return file_world(disk_directory(), O_RDWR, ""); }});
	out.push_back({"disk file", "position 4", [] {
			       World world = file_world(disk_directory(), O_RDWR, "0123456789");
			       lseek(world.fd, 4, SEEK_SET);
			       return world;
		       }});
	return out;
}
std::vector<Op> ops_of_files()
{
	std::vector<Op> out;
	for (off_t at : {off_t{0}, off_t{3}, off_t{10}, off_t{5000}}) {
		for (size_t n : {0, 4, 100})
			out.push_back({Op::read, n, 0, Op::good, at});
		out.push_back({Op::readv, 6, 0, Op::good, at});
		for (size_t n : {0, 5, 70000})
			out.push_back({Op::write, n, 0, Op::good, at});
		out.push_back({Op::writev, 6, 0, Op::good, at});
	}
	for (off_t at : {INT64_MAX, INT64_MAX - 3, off_t{1} << 43})
		for (Op::Type type : {Op::read, Op::write, Op::readv, Op::writev})
			out.push_back({type, 5, 0, Op::good, at});
	for (Op::Memory memory : {Op::null, Op::straddling}) {
		for (Op::Type type : {Op::read, Op::write})
			out.push_back({type, 8, 0, memory});
		out.push_back({Op::read, 100, 0, memory, 8});
		out.push_back({Op::read, 100, 0, memory, 10});
	}
	out.push_back({Op::fsync});
	out.push_back({Op::fdsync});
	return out;
}

// -------------------------------------------------------------------- devices

World opened(const char *path, int flags)
{
	World world;
	world.fd.reset(open(path, flags | O_CLOEXEC));
	world.look = [](World &w) { return "; at " + std::to_string(lseek(w.fd, 0, SEEK_CUR)); };
	return world;
}
World numbered(int number)
{
	World world;
	world.number = number;
	world.look = [](World &) { return std::string(); };
	return world;
}
/// The path, without the mark that divides the name of a cell.
std::string kind_of(std::string path)
{
	for (char &c : path)
		if (c == '/')
			c = '.';
	return "file " + path;
}
std::vector<Scene> scenes_of_devices()
{
	std::vector<Scene> out;
	constexpr std::pair<const char *, int> files[] = {
		{"/dev/null", O_RDWR},
		{"/dev/zero", O_RDWR},
		{"/dev/full", O_RDWR},
		{"/", O_RDONLY | O_DIRECTORY},
		{"/", O_PATH},
		{"/dev/null", O_RDONLY},
		{"/dev/null", O_WRONLY},
		{"/dev/full", O_WRONLY | O_NONBLOCK},
		{"/dev/zero", O_RDONLY | O_NONBLOCK},
		{"/proc/version", O_RDONLY},
		{"/proc/sys/kernel/ostype", O_RDONLY},
		{"/proc/self/comm", O_RDONLY},
		{"/proc/self/limits", O_RDONLY},
		{"/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY},
		{"/proc/self/mem", O_RDONLY},
		{"/proc/self/pagemap", O_RDONLY},
		{"/proc/self/oom_score_adj", O_RDWR},
		{"/proc/pressure/io", O_RDONLY},
		{"/proc/self/ns/net", O_RDONLY},
		{"/dev/fuse", O_RDWR}};
	for (const auto &[path, flags] : files)
		if (const Fd probe(open(path, flags | O_CLOEXEC)); probe >= 0)
			out.push_back(
				{kind_of(path), flags == O_PATH ? "O_PATH" : std::to_string(flags),
				 [path = path, flags = flags] { return opened(path, flags); }});
	out.push_back({"no descriptor", "-1", [] { return numbered(-2); }});
	out.push_back({"no descriptor", "never opened", [] { return numbered(100000); }});
	out.push_back({"no descriptor", "huge", [] { return numbered(INT_MAX); }});
	return out;
}

// -------------------------------------------------------- objects of the kernel

World event_counter(uint64_t count, int flags)
{
	World world;
	world.fd.reset(eventfd(0, flags | EFD_CLOEXEC));
	if (count != 0 && write(world.fd, &count, sizeof count) < 0)
		abort();
	return world;
}
void count_up(World &w)
{
	const uint64_t one = 1;
	if (write(w.fd, &one, sizeof one) < 0)
		return;
}
void count_down(World &w)
{
	uint64_t all;
	if (read(w.fd, &all, sizeof all) < 0)
		return;
}
World timer(bool over, int flags = 0)
{
	World world;
	world.fd.reset(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | flags));
	const itimerspec soon{{0, 0}, {0, 1}};
	if (over)
		timerfd_settime(world.fd, 0, &soon, nullptr);
	if (over)
		becomes(world.fd, POLLIN);
	return world;
}
void expire(World &w)
{
	const itimerspec soon{{0, 0}, {0, 1}};
	timerfd_settime(w.fd, 0, &soon, nullptr);
}
World watch_of_a_folder()
{
	World world;
	std::string const path = temp_name("/tmp");
	mkdir(path.c_str(), 0700);
	world.fd.reset(inotify_init1(IN_CLOEXEC));
	inotify_add_watch(world.fd, path.c_str(), IN_CREATE);
	world.remove.push_back(path + "/a");
	world.look = [path](World &w) {
		std::string const left = "; left: " + looked_at(w.fd, 0);
		unlink((path + "/a").c_str());
		rmdir(path.c_str());
		return left;
	};
	return world;
}
World message_queue(bool full)
{
	World world;
	std::string const name = "/contract-table-" + std::to_string(getpid());
	mq_attr attributes{};
	attributes.mq_maxmsg = 1;
	attributes.mq_msgsize = 16;
	mq_unlink(name.c_str());
	world.fd.reset(mq_open(name.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600, &attributes));
	mq_unlink(name.c_str());
	if (full)
		mq_send(world.fd, "abc", 3, 0);
	world.look = [](World &) { return std::string(); };
	return world;
}
World epoll_of_something()
{
	World world;
	world.fd.reset(epoll_create1(EPOLL_CLOEXEC));
	world.third.reset(eventfd(1, EFD_CLOEXEC));
	epoll_event event{EPOLLIN, {}};
	epoll_ctl(world.fd, EPOLL_CTL_ADD, world.third, &event);
	world.look = [](World &) { return std::string(); };
	return world;
}
World process()
{
	World world;
	world.fd.reset(int(syscall(SYS_pidfd_open, getpid(), 0)));
	world.look = [](World &) { return std::string(); };
	return world;
}
std::vector<Scene> scenes_of_objects()
{
	std::vector<Scene> out;
	const Step up{"counted up", count_up}, down{"counted down", count_down};
	out.push_back({"eventfd", "0", [] { return event_counter(0, 0); }, {up, up}});
	out.push_back({"eventfd", "5", [] { return event_counter(5, 0); }});
	out.push_back({"eventfd", "semaphore 5", [] { return event_counter(5, EFD_SEMAPHORE); }});
	out.push_back({"eventfd", "0, O_NONBLOCK", [] { return event_counter(0, EFD_NONBLOCK); }});
	out.push_back({"eventfd", "full", [] { return event_counter(UINT64_MAX - 1, 0); }, {down}});
	out.push_back({"eventfd", "full, O_NONBLOCK",
		       [] { return event_counter(UINT64_MAX - 1, EFD_NONBLOCK); }});
	out.push_back(
		{"timerfd", "not set", [] { return timer(false); }, {{"it expires", expire}}});
	out.push_back({"timerfd", "expired", [] { return timer(true); }});
	out.push_back(
		{"timerfd", "not set, O_NONBLOCK", [] { return timer(false, TFD_NONBLOCK); }});
	out.push_back(
		{"inotify",
		 "empty",
		 watch_of_a_folder,
		 {{"a file is made", [](World &w) {
			   close(open(w.remove[0].c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
		   }}}});
	out.push_back({"message queue", "empty", [] { return message_queue(false); }});
	out.push_back({"message queue", "full", [] { return message_queue(true); }});
	out.push_back({"epoll", "ready", epoll_of_something});
	out.push_back({"pidfd", "own", process});
	out.push_back({"pipe", "write end", [] { return swapped(world_of(pipe_stream())); }});
	out.push_back({"pipe",
		       "read end",
		       [] { return world_of(pipe_stream()); },
		       {{"data comes", put_in("abc\n")}}});
	out.push_back({"TCP", "not connected",
		       [] { return world_of(new_socket(tcp4_kind).release(), -1); }});
	out.push_back({"TCP", "listening",
		       [] { return world_of(listening_socket(tcp4_kind).release(), -1); }});
	out.push_back({"UNIX stream", "not connected",
		       [] { return world_of(new_socket(unix_stream_kind).release(), -1); }});
	out.push_back({"UNIX seqpacket", "not connected",
		       [] { return world_of(new_socket(unix_packet_kind).release(), -1); }});
	out.push_back({"UNIX stream", "listening",
		       [] { return world_of(listening_socket(unix_stream_kind).release(), -1); }});
	out.push_back({"UNIX datagram", "no address",
		       [] { return world_of(new_socket(unix_datagram_kind).release(), -1); }});
	out.push_back({"UDP", "not connected",
		       [] { return world_of(bound_socket(udp4_kind).release(), -1); }});
	return out;
}
std::vector<Op> ops_of_objects()
{
	std::vector<Op> out;
	for (size_t n : {0, 4, 8, 100}) {
		out.push_back({Op::read, n});
		out.push_back({Op::write, n});
	}
	out.push_back({Op::readv, 24});
	out.push_back({Op::writev, 24});
	for (Op::Memory memory : {Op::null, Op::straddling})
		for (Op::Type type : {Op::read, Op::write})
			out.push_back({type, 8, 0, memory});
	out.push_back({Op::fsync});
	out.push_back({Op::fdsync});
	return out;
}
std::vector<Op> ops_of_sockets()
{
	std::vector<Op> out;
	for (Op::Type type :
	     {Op::recv, Op::send, Op::recvfrom, Op::sendto, Op::recvmsg, Op::sendmsg}) {
		out.push_back({type, 5});
		out.push_back({type, 5, MSG_DONTWAIT});
		out.push_back({type, 0});
	}
	for (int flags : {0, int(SOCK_NONBLOCK), 0x10})
		out.push_back({Op::accept, 0, flags});
	return out;
}

} // namespace

BOOST_AUTO_TEST_CASE(files)
{
	table().sample(3);
	table().compare(scenes_of_files(), ops_of_files());
}
BOOST_AUTO_TEST_CASE(devices)
{
	table().sample(2);
	table().compare(scenes_of_devices(), ops_of_objects());
}
BOOST_AUTO_TEST_CASE(objects_of_the_kernel)
{
	table().sample(1);
	table().compare(scenes_of_objects(), ops_of_objects());
}
BOOST_AUTO_TEST_CASE(socket_calls_on_other_things)
{
	table().sample(4);
	table().compare(scenes_of_objects(), ops_of_sockets());
	table().compare(scenes_of_devices(), ops_of_sockets());
}
BOOST_AUTO_TEST_CASE(the_known_list_is_no_longer_than_it_has_to_be)
{
	check_known_cells();
}
