// SPDX-License-Identifier: MIT
//
// How waits for other sources end: with their channel, by ev_cancel while others are busy with the
// same object, and where a call fails. And that what comes over a descriptor is not believed.
#define BOOST_TEST_MODULE source_ends
#include "source_objects.hpp"

#include <dirent.h>
#include <mqueue.h>
#include <netdb.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/stat.h>

namespace {

sigset_t one_signal(int number = SIGUSR2)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, number);
	return set;
}

class MessageQueue {
public:
	MessageQueue()
	{
		std::string const name = "/sigevec-ends-" + std::to_string(getpid());
		mq_attr a{};
		a.mq_maxmsg = 2;
		a.mq_msgsize = 8;
		queue_ = mq_open(name.c_str(), O_RDWR | O_CREAT, 0600, &a);
		if (queue_ < 0 && errno == ENOSYS)
			skip_program("no message queues here");
		BOOST_TEST_REQUIRE(queue_ >= 0);
		mq_unlink(name.c_str());
	}
	~MessageQueue() { close(); }
	void close()
	{
		if (queue_ >= 0)
			mq_close(queue_);
		queue_ = -1;
	}
	operator mqd_t() const { return queue_; }

private:
	mqd_t queue_;
};

} // namespace

// ------------------------------------------------ condition variables, which have a lock inside

BOOST_AUTO_TEST_CASE(leaving_a_condition_variable_that_is_being_signalled_holds_up_nobody)
{
	// A signaller holds the lock inside while it waits for those who sleep in a group: one of
	// them is the other wait, of the same futex waiter.
	Mutex m;
	Condition c;
	Semaphore other;
	std::atomic<bool> stop{false};
	std::vector<std::thread> signallers;
	for (int i = 0; i < 2; ++i)
		signallers.emplace_back([&] {
			for (unsigned n = 0; !stop; ++n) {
				pthread_cond_signal(c);
				if (n % 8 == 0)
					sched_yield();
			}
		});
	Channel kept;
	event_data_t event;
	for (int round = 0; round < 5000 / int(slowness); ++round) {
		Channel left;
		bool waits = true;
		for (ec_t ec : {ec_t(kept), ec_t(left)}) {
			// The wake-up of the first may have come, and the mutex with it.
			for (; pthread_mutex_trylock(m) != 0; sched_yield())
				if (take_events(kept, &event, 1, at_once) == 1) {
					waits = false;
					pthread_mutex_unlock(m);
				}
			BOOST_TEST_REQUIRE(ev_pthread_cond_wait(c, m, ec, &datum) == 0);
		}
		if (round % 2 == 0)
			BOOST_TEST(ec_destroy(left.release()) == 0);
		else
			ev_cancel(left, &datum);
		if (left >= 0 && next_event(left).ev_errno == 0)
			pthread_mutex_unlock(m);
		if (waits && next_event(kept).ev_errno == 0)
			pthread_mutex_unlock(m);
	}
	// Other waits go on as before.
	sem_post(other);
	BOOST_TEST_REQUIRE(ev_sem_wait(other, nullptr, kept, &other_datum) == 0);
	check_event(kept, other, ok(0), &other_datum);
	stop = true;
	for (std::thread &t : signallers)
		t.join();
}

// ------------------------------------------------------------------------------ removed objects

BOOST_AUTO_TEST_CASE(what_waits_for_a_system_v_object_is_told_of_its_removal_however_soon)
{
	for_each_channel([](Channel &ec) {
		struct {
			long type;
			char text[8];
		} m{1, ""};
		for (int i = 0; i < 100; ++i) {
			int const queue = msgget(IPC_PRIVATE, 0600),
				  set = semget(IPC_PRIVATE, 1, 0600);
			if (queue < 0 && errno == ENOSYS)
				skip_program("no System V queues here");
			BOOST_TEST_REQUIRE((queue >= 0 && set >= 0));
			sembuf down{0, -1, 0};
			// The second waits behind the first.
			BOOST_TEST_REQUIRE(ev_msgrcv(queue, &m, sizeof m.text, 0, 0, ec, &datum) ==
					   0);
			BOOST_TEST_REQUIRE(ev_msgrcv(queue, &m, sizeof m.text, 0, 0, ec, &datum) ==
					   0);
			BOOST_TEST_REQUIRE(ev_semop(set, &down, 1, ec, &datum) == 0);
			msgctl(queue, IPC_RMID, nullptr);
			semctl(set, 0, IPC_RMID);
			for (int k = 0; k < 3; ++k)
				BOOST_TEST(outcome(next_event(ec)) == failed(EIDRM));
			BOOST_TEST_REQUIRE(ev_msgrcv(queue, &m, sizeof m.text, 0, 0, ec, &datum) ==
					   0);
			BOOST_TEST(outcome(next_event(ec)) == failed(EINVAL));
		}
	});
}

// --------------------------------------------------------------- rights, which are the caller's

BOOST_AUTO_TEST_CASE(a_thread_that_has_given_up_its_rights_gets_none_of_the_threads_that_wait)
{
	if (geteuid() != 0) {
		BOOST_TEST_MESSAGE("not root");
		return;
	}
	struct Message {
		long type;
		char text[8];
	};
	Channel ec;
	const int queue = msgget(IPC_PRIVATE, 0600);
	if (queue < 0 && errno == ENOSYS)
		skip_program("no System V queues here");
	BOOST_TEST_REQUIRE(queue >= 0);
	// Threads with all rights are idle, and stay so.
	sigevec_limits limits{};
	BOOST_TEST_REQUIRE(sigevec_get_limits(&limits) == 0);
	const unsigned idle = std::exchange(limits.idle, 100);
	BOOST_TEST_REQUIRE(sigevec_set_limits(&limits) == 0);
	const Message full{1, "full"}, mine{2, "mine"}, theirs{3, "theirs"};
	std::vector<Message> used(limits.threads); // all that are allowed: one has to make way
	for (Message &m : used)
		BOOST_TEST_REQUIRE(ev_msgrcv(queue, &m, sizeof m.text, 0, 0, ec, &datum) == 0);
	for (size_t i = 0; i < used.size(); ++i)
		BOOST_TEST_REQUIRE(msgsnd(queue, &full, sizeof full.text, 0) == 0);
	for (size_t i = 0; i < used.size(); ++i)
		next_event(ec);
	msqid_ds state{};
	BOOST_TEST_REQUIRE(msgctl(queue, IPC_STAT, &state) == 0);
	state.msg_qbytes = sizeof Message{}.text;
	BOOST_TEST_REQUIRE(msgctl(queue, IPC_SET, &state) == 0);
	BOOST_TEST_REQUIRE(msgsnd(queue, &full, sizeof full.text, 0) == 0);
	Message received{};
	BOOST_TEST_REQUIRE(ev_msgsnd(queue, &mine, sizeof mine.text, 0, ec, &datum) == 0);
	BOOST_TEST_REQUIRE(ev_msgrcv(queue, &received, sizeof received.text, 9, 0, ec, &datum) ==
			   0);
	Channel poor;
	Message taken{};
	int sent = -1, asked = -1;
	in_thread([&] {
		// This thread's alone: libc's function would change all.
		if (syscall(SYS_setresuid, 65534, 65534, 65534) != 0)
			abort();
		sent = ev_msgsnd(queue, &theirs, sizeof theirs.text, 0, poor, &datum) == 0 ? 0
											   : errno;
		asked = ev_msgrcv(queue, &taken, sizeof taken.text, 0, 0, poor, &datum) == 0
				? 0
				: errno;
	});
	BOOST_TEST(sent == 0);
	BOOST_TEST(asked == 0);
	for (int i = 0; i < 2; ++i)
		BOOST_TEST(outcome(next_event(poor)) == failed(EACCES));
	BOOST_TEST(taken.type == 0);
	Message first{}, second{};
	BOOST_TEST(msgrcv(queue, &first, sizeof first.text, 0, 0) == ssize_t(sizeof first.text));
	BOOST_TEST(outcome(next_event(ec)) == ok(0));
	BOOST_TEST(msgrcv(queue, &second, sizeof second.text, 0, 0) == ssize_t(sizeof second.text));
	BOOST_TEST(second.type == 2);
	BOOST_TEST(msgctl(queue, IPC_RMID, nullptr) == 0);
	BOOST_TEST(outcome(next_event(ec)) == failed(EIDRM));
	limits.idle = idle;
	BOOST_TEST_REQUIRE(sigevec_set_limits(&limits) == 0);
}

namespace {

/// A folder that can be a root, where a service has a number.
std::string root_with_service(const char *line)
{
	std::string const root = temp_name("/tmp");
	if (mkdir(root.c_str(), 0755) != 0 || mkdir((root + "/etc").c_str(), 0755) != 0)
		return "";
	std::ofstream(root + "/etc/services") << line << std::endl;
	return root;
}
void remove_root(const std::string &root)
{
	unlink((root + "/etc/services").c_str());
	rmdir((root + "/etc").c_str());
	rmdir(root.c_str());
}
int port_of(const addrinfo *a)
{
	return a != nullptr ? ntohs(reinterpret_cast<const sockaddr_in *>(a->ai_addr)->sin_port)
			    : -1;
}

} // namespace

BOOST_AUTO_TEST_CASE(names_are_looked_up_by_the_files_of_the_caller)
{
	if (geteuid() != 0) {
		BOOST_TEST_MESSAGE("not root");
		return;
	}
	sigevec_limits limits{};
	BOOST_TEST_REQUIRE(sigevec_get_limits(&limits) == 0);
	const unsigned idle = std::exchange(limits.idle, 100);
	BOOST_TEST_REQUIRE(sigevec_set_limits(&limits) == 0);
	std::string const root = root_with_service("sigevec-test 4711/tcp");
	addrinfo hints{};
	hints.ai_family = AF_INET;
	hints.ai_socktype = SOCK_STREAM;
	Channel ec;
	sigevent event = channel_event(ec);
	const auto look_up = [&](gaicb &request) {
		gaicb *list[] = {&request};
		event_data_t told{};
		if (getaddrinfo_a(GAI_NOWAIT, list, 1, &event) != 0 ||
		    take_events(ec, &told, 1) != 1)
			abort();
	};
	gaicb first{}, second{};
	first.ar_name = "127.0.0.1";
	first.ar_request = &hints;
	look_up(first); // a thread with the root of all is idle from now on
	second.ar_service = "sigevec-test";
	second.ar_request = &hints;
	int by_hand = -1;
	in_thread([&] {
		addrinfo *found = nullptr;
		if (unshare(CLONE_FS) != 0 || chroot(root.c_str()) != 0 || chdir("/") != 0)
			return;
		if (getaddrinfo(nullptr, "sigevec-test", &hints, &found) == 0)
			by_hand = port_of(found);
		if (found != nullptr)
			freeaddrinfo(found);
		look_up(second);
	});
	remove_root(root);
	if (by_hand == 4711) {
		BOOST_TEST(gai_error(&second) == 0);
		BOOST_TEST(port_of(second.ar_result) == by_hand);
	} else
		BOOST_TEST_MESSAGE("a thread cannot have a root of its own here");
	for (gaicb *r : {&first, &second})
		if (r->ar_result != nullptr)
			freeaddrinfo(r->ar_result);
	limits.idle = idle;
	BOOST_TEST_REQUIRE(sigevec_set_limits(&limits) == 0);
}

// ------------------------------------------------------------------------- the end of a channel

BOOST_AUTO_TEST_CASE(ec_destroy_wakes_all_who_are_blocked_in_a_channel_with_sources)
{
	const sigset_t set = one_signal();
	for (bool ended : {false, true})
		for (int readers : {1, 4})
			for (int round = 0; round < 20; ++round) {
				Channel ec;
				BOOST_TEST_REQUIRE(ev_signal(&set, ec, &datum) == 0);
				if (ended) {
					BOOST_TEST(ev_cancel(ec, &datum) == 0);
					BOOST_TEST(outcome(next_event(ec)) == failed(ECANCELED));
				}
				std::atomic<int> told{0};
				std::vector<std::thread> threads;
				std::vector<std::atomic<pid_t>> ids(static_cast<size_t>(readers));
				for (int i = 0; i < readers; ++i)
					threads.emplace_back([&, i] {
						event_data_t event{};
						ids[static_cast<size_t>(i)] = thread_id();
						int n;
						do
							n = take_events(ec, &event, 1);
						while (n == 1); // the end of the signals, for one
								// of them
						told += n < 0 && errno == EBADF;
					});
				if (round % 2 == 0)
					BOOST_TEST(eventually([&] {
						return std::all_of(
							ids.begin(), ids.end(), [](auto &id) {
								return id != 0 &&
								       thread_state(id) == 'S';
							});
					}));
				BOOST_TEST(ec_destroy(ec) == 0);
				for (std::thread &t : threads)
					t.join();
				ec.release();
				BOOST_TEST(told == readers);
			}
}

// ------------------------------------------------------------------------------ calls that fail

BOOST_AUTO_TEST_CASE(without_a_descriptor_ev_signal_and_mq_notify_leave_nothing_behind)
{
	for (int places = 0; places < 4; ++places)
		for (bool queue : {false, true})
			BOOST_TEST_CONTEXT(places << " places, "
						  << (queue ? "mq_notify" : "ev_signal"))
			{
				BOOST_TEST(
					in_child([&] {
						ec_t const ec = ec_create(0);
						MessageQueue q;
						sigset_t const set = one_signal(SIGUSR1);
						sigset_t before, after;
						sigevent const event = channel_event(ec);
						rlimit limit{64, 64};
						if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
							_exit(10);
						int last = -1;
						for (int fd; (fd = dup(0)) >= 0;)
							last = fd;
						for (int i = 0; i < places; ++i)
							close(last - i);
						int const free_places = open_descriptors();
						pthread_sigmask(SIG_BLOCK, nullptr, &before);
						for (int i = 0; i < 5; ++i) {
							if ((queue ? mq_notify(q, &event)
								   : ev_signal(&set, ec,
									       nullptr)) == 0)
								_exit(0);
							if (errno != EMFILE)
								_exit(11);
							// The instance of the channel for such
							// descriptors may be made once and kept.
							if (open_descriptors() - free_places > 1)
								_exit(12);
							struct ec_stat s {};
							if (ec_stat(ec, &s) != 0 ||
							    s.outstanding != 0)
								_exit(13);
						}
						pthread_sigmask(SIG_BLOCK, nullptr, &after);
						_exit(sigismember(&before, SIGUSR1) ==
								      sigismember(&after, SIGUSR1)
							      ? 0
							      : 14);
					}) == 0);
			}
}

BOOST_AUTO_TEST_CASE(the_room_of_a_registration_that_has_ended_unheard_is_there_for_any_submission)
{
	for_each_channel_kind([](unsigned flags) {
		for (int how = 0; how < 4; ++how)
			BOOST_TEST_CONTEXT("submission " << how)
			{
				Channel ec(flags);
				BOOST_TEST_REQUIRE(ec_set_limit(ec, 1) == 0);
				MessageQueue q;
				sigevent const event = channel_event(ec);
				BOOST_TEST_REQUIRE(mq_notify(q, &event) == 0);
				CHECK_FAILS(ec_post(ec, 0, 0, nullptr), EAGAIN);
				if (how % 2 == 0)
					BOOST_TEST(mq_notify(q, nullptr) == 0);
				else
					q.close();
				Semaphore s(false, 1);
				if (how < 2)
					BOOST_TEST(ec_post(ec, 0, 0, nullptr) == 0);
				else
					BOOST_TEST(ev_sem_wait(s, nullptr, ec, &datum) == 0);
				next_event(ec);
				BOOST_TEST(numbers(ec).outstanding == 0u);
			}
	});
}

// ----------------------------------------------------------------- what comes over a descriptor

namespace {

/// The descriptors of this process but `ec' that are epoll instances.
std::vector<int> epoll_instances(int ec)
{
	std::vector<int> found;
	DIR *const d = opendir("/proc/self/fd");
	while (const dirent *e = readdir(d)) {
		char target[64] = "";
		std::string const path = std::string("/proc/self/fd/") + e->d_name;
		if (readlink(path.c_str(), target, sizeof target - 1) > 0 &&
		    strcmp(target, "anon_inode:[eventpoll]") == 0 && atoi(e->d_name) != ec)
			found.push_back(atoi(e->d_name));
	}
	closedir(d);
	return found;
}

} // namespace

BOOST_AUTO_TEST_CASE(what_a_strangers_epoll_instance_says_is_not_believed)
{
	// In a child, for it dies of what it believes. The stranger's instance has the number of
	// the library's own, and its mark.
	BOOST_TEST(in_child([] {
			   ec_t const ec = ec_create(EC_NONBLOCK);
			   sigset_t const set = one_signal();
			   sem_t s;
			   sem_init(&s, 0, 0);
			   std::array<char, 8> data{};
			   for (char &d : data)
				   if (ev_sem_wait(&s, nullptr, ec, &d) != 0)
					   _exit(2);
			   if (ev_signal(&set, ec, nullptr) != 0)
				   _exit(3);
			   int const forged = epoll_create1(EPOLL_CLOEXEC),
				     one = eventfd(1, EFD_CLOEXEC);
			   for (int own : epoll_instances(ec)) {
				   if (own == forged)
					   continue;
				   int const mark = fcntl(own, F_GETSIG);
				   if (dup2(forged, own) != own || fcntl(own, F_SETSIG, mark) != 0)
					   _exit(4);
			   }
			   event_data_t event;
			   auto say = [&](uint64_t what) {
				   epoll_event e{};
				   e.events = EPOLLIN;
				   e.data.u64 = what;
				   epoll_ctl(forged, EPOLL_CTL_ADD, one, &e);
				   epoll_ctl(forged, EPOLL_CTL_MOD, one, &e);
				   ec_next_event(ec, &event);
			   };
			   for (uint64_t generation = 0; generation < 4; ++generation)
				   for (uint64_t index = 0; index < 80; ++index)
					   say(generation << 32 | index);
			   for (uint64_t what : {UINT64_MAX, uint64_t{1} << 32 | 0x41414140,
						 reinterpret_cast<uint64_t>(&event)})
				   say(what);
			   // What waits still does.
			   for (size_t i = 0; i < data.size(); ++i)
				   sem_post(&s);
			   for (size_t i = 0; i < data.size(); ++i)
				   if (ec_next_events(ec, &event, 1, &until_it_hangs) != 1 ||
				       event.ev_errno != 0)
					   _exit(5);
			   _exit(0);
		   }) == 0);
}
