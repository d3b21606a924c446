// SPDX-License-Identifier: MIT
//
// Tables of calls: every operation, on descriptors of every kind, in every state, in every form
// that the library has for it, compared with the system call made by hand on a descriptor prepared
// alike. Nothing here says what the right result is; the kernel does, each time anew.
//
// A scene prepares a descriptor and says what happens to it afterwards, step by step. In a cell the
// call is made by hand in a thread; it ends at once, or after some step, or never. Then the request
// is made on a second, equal descriptor, the same steps are taken as far as the call by hand needed
// them, and it must have come to the same: result, error, bytes, flags, what is left for the next
// reader, and what has reached the other end. Where the call waits, there is a second cell in which
// the call by hand is interrupted and the request cancelled: what is left must be the same again.
//
// Where the contract wants something else than the system call does, that is a rule of `rules` with
// its sentence. A cell that is known to fail is in the program's list `known_cells`, which says
// when a line of it is not true any more.
//
// Include it once, after defining BOOST_TEST_MODULE, in place of socket_calls.hpp.
#ifndef CONTRACT_TABLE_HPP
#define CONTRACT_TABLE_HPP

#include "socket_calls.hpp"

#include <condition_variable>
#include <fnmatch.h>
#include <map>
#include <netinet/udp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "table_calls.hpp"
#include "table_forms.hpp"

namespace contract {

// --------------------------------------------------------------------- scenes

/// What a call is made on, and what belongs to it.
struct World {
	Fd fd, peer, third;
	int number = -1;    // the descriptor of the call where it is not `fd`
	size_t stuffed = 0; // bytes 'f' on the way to the peer before the call
	size_t put = 0;     // bytes that the peer has written
	size_t payload = 0; // bytes that the call sends
	std::string got;    // what the peer has read in a step
	std::vector<Fd> more;
	std::vector<std::string> remove;          // files
	Address to;                               // of sends and connect; of no length: none
	std::function<std::string(World &)> look; // what else is to be compared afterwards

	World() { to.length = 0; }
	World(World &&) = default;
	~World()
	{
		for (const std::string &path : remove)
			unlink(path.c_str());
	}
	int subject() const { return number != -1 ? number : int(fd); }
};

using Act = std::function<void(World &)>;
struct Step {
	const char *name;
	Act act;
};
struct Scene {
	std::string kind, state;
	std::function<World()> make;
	std::vector<Step> steps{};
	bool ends_by_itself = false; // a time limit of the descriptor's own ends the call
	bool leaves = true;          // what is left is looked at

	std::string name() const { return kind + "/" + state; }
};

} // namespace contract

#include "table_worlds.hpp"

#include "table_rules.hpp"

namespace contract {

// ----------------------------------------------------------------------- cells

/// How a call came out: the step that ended it (-1: none was needed; steps.size(): it never ends),
/// and the text.
struct Result {
	int ended_by = -1;
	std::string end, left;
	bool waited = false;
	bool part = false; // it was interrupted when a part was done

	std::string text(const Scene &scene) const
	{
		std::string const when =
			ended_by < 0 ? "at once: "
			: size_t(ended_by) < scene.steps.size()
				? "after \"" + std::string(scene.steps[size_t(ended_by)].name) +
					  "\": "
				: "never: ";
		return when + end + left;
	}
};

/// The limit of a case is for each cell: a case has thousands of them.
inline void watch(const std::string &cell)
{
	static char name[512];
	snprintf(name, sizeof name, "hang in %s\n", cell.c_str());
	signal(SIGALRM, [](int) {
		if (write(STDERR_FILENO, name, strlen(name)) < 0)
			_exit(3);
		_exit(2);
	});
	alarm(case_limit * slowness);
}

class Table {
public:
	explicit Table(std::vector<std::unique_ptr<Form>> forms) : forms_(std::move(forms)) {}

	/// Of the cells to come, one of so many is enough for an ordinary run.
	void sample(unsigned one_of) { one_of_ = one_of; }

	/// All forms of the operation in the scene, and the same cancelled.
	void compare(const Scene &scene, const Op &op)
	{
		if (!all() && (hash(scene, op) >> 8) % one_of_ != 0)
			return;
		for (const auto &form : forms_)
			if (form->takes(op) && chosen(scene, op, *form) &&
			    check(scene, op, *form, runs)) {
				check(scene, op, *form, cancelled);
				if (form->tells_by_event())
					check(scene, op, *form, destroyed);
				if (form->can_lose())
					check(scene, op, *form, taken_away);
			}
		judged_.clear();
	}
	void compare(const std::vector<Scene> &scenes, const std::vector<Op> &ops)
	{
		for (const Scene &scene : scenes)
			for (const Op &op : ops)
				compare(scene, op);
	}

private:
	/// What becomes of a request: it runs to its end, is cancelled while it waits, or its
	/// channel is destroyed, or its association ended.
	enum Fate { runs, cancelled, destroyed, taken_away };

	static bool all() { return table_mode("all"); }
	static uint32_t hash(const Scene &scene, const Op &op)
	{
		uint32_t sum = 2166136261u;
		for (unsigned char c : scene.name() + op.name())
			sum = (sum ^ c) * 16777619u;
		return sum;
	}
	/// Three forms always; of the others, which share most of their way with these, one for
	/// each call.
	static bool chosen(const Scene &scene, const Op &op, const Form &form)
	{
		return form.is_basic() || all() || (hash(scene, op) >> 16) % 4 == form.number();
	}
	/// True when the call waits at first, and the request did what it does.
	bool check(const Scene &scene, const Op &op, Form &form, Fate fate)
	{
		static constexpr const char *fates[] = {"", "/cancelled", "/destroyed",
							"/taken away"};
		std::string const cell =
			scene.name() + "/" + op.name() + "/" + form.name() + fates[fate];
		const Known *const known = tally.find(cell);
		watch(cell);
		if (known != nullptr && known->when == Known::never_returns)
			return false;
		const auto known_limit =
			scene.ends_by_itself ? 10 * patience_when_known : patience_when_known;
		const auto limit = known != nullptr ? known_limit : patience;
		const int signals = broken_pipes;
		std::string expected, got, first;
		bool waited = false;
		int tries = 0;
		do { // a judge that was interrupted by something else may be asked again
			if (tries > 0)
				judged_.clear();
			const Result judge = by_hand(scene, op, form, fate != runs);
			if (judge.part && (op.sends() || fate == destroyed))
				return true; // not to be cancelled any more; where it goes on is up
					     // to the library
			waited = judge.waited;
			expected = judge.text(scene);
			got = by_library(scene, op, form, fate, judge, limit);
			if (broken_pipes != signals)
				got += "; SIGPIPE";
			if (got != expected && accepted_otherwise(scene, op, form, judge, got))
				got = expected;
			if (got != expected)
				first = "\n  expected " + expected + "\n  got      " + got;
		} while (got != expected &&
			 ++tries <
				 (known != nullptr || got.find("still waits") != got.npos ? 1 : 3));
		++tally.cells;
		const bool failed = got != expected;
		tally.count(known, failed);
		tally.failures += failed;
		tally.unsteady += tries > 0 && !failed;
		if (failed && known == nullptr)
			BOOST_ERROR(cell << first);
		else if (failed)
			BOOST_TEST_MESSAGE("known: " << cell << first);
		else if (tries > 0)
			BOOST_TEST_MESSAGE("unsteady: " << cell << first);
		return waited && !failed;
	}

	/// Interrupted when a part was done, the call by hand returns the part. The request may as
	/// well have taken nothing yet.
	bool accepted_otherwise(const Scene &scene, const Op &op, const Form &, const Result &judge,
				const std::string &got)
	{
		if (!judge.part || !op.receives())
			return false;
		World world = scene.make();
		for (const Step &step : scene.steps)
			step.act(world);
		Result untouched{judge.ended_by, "cancelled",
				 scene.leaves ? left_in(world, 0) : ""};
		return got == untouched.text(scene);
	}

	/// Forms to which the same rules apply have one judge.
	const Result &by_hand(const Scene &scene, const Op &op, const Form &form, bool interrupted)
	{
		std::string key(interrupted ? "i" : "");
		for (const Rule &rule : rules)
			key += rule.applies(scene, op, form) ? '1' : '0';
		const auto found = judged_.find(key);
		if (found != judged_.end())
			return found->second;
		return judged_[key] = judge(scene, op, form, interrupted);
	}
	Result judge(const Scene &scene, const Op &op, const Form &form, bool interrupted)
	{
		World world = scene.make();
		if (op.sends() && !interrupted)
			world.payload = op.size;
		for (const Rule &rule : rules)
			if (rule.prepare != nullptr && rule.applies(scene, op, form))
				rule.prepare(world);
		Op by_hand = op;
		for (const Rule &rule : rules)
			if (rule.applies(scene, op, form))
				by_hand.flags |= rule.flags;
		Call call(by_hand, world.subject(), world.to.storage, world.to.length);
		Result result;
		hand_.begin([&] { call.by_hand(); });
		if (scene.ends_by_itself && !interrupted)
			hand_.join();
		bool waits = hand_.waits();
		result.waited = waits && !scene.ends_by_itself;
		if (interrupted) {
			hand_.interrupt();
			for (const Step &step : scene.steps)
				step.act(world);
		} else
			while (waits && ++result.ended_by < int(scene.steps.size())) {
				const Step &step = scene.steps[size_t(result.ended_by)];
				helper_.begin([&] { step.act(world); });
				helper_.join();
				waits = hand_.waits();
			}
		if (waits && !interrupted)
			hand_.interrupt();
		result.part = (interrupted || waits) && call.by_hand_outcome.result > 0;
		result.end = (interrupted || waits) && !result.part
				     ? "cancelled"
				     : call.told(call.by_hand_outcome);
		for (const Rule &rule : rules)
			if (rule.expect != nullptr && rule.applies(scene, op, form))
				result.end = rule.expect(result.end);
		if (scene.leaves)
			result.left =
				left_in(world, op.receives() ? call.by_hand_outcome.result : 0);
		return result;
	}

	std::string by_library(const Scene &scene, const Op &op, Form &form, Fate fate,
			       const Result &judge, std::chrono::milliseconds limit)
	{
		auto world = std::make_unique<World>(scene.make());
		auto pending = std::make_unique<Pending>(op, world->subject(), world->to.storage,
							 world->to.length);
		if (op.sends() && fate == runs)
			world->payload = op.size;
		form.start(*pending);
		// Of an error that comes before it waits, a receive of nothing tells; one that
		// waits is woken.
		if (op.receives() && op.size == 0)
			eventually([] { return all_others_sleep(getpid(), thread_id()); });
		Result result;
		bool ended = false;
		if (fate != runs) {
			result.end = fate == cancelled   ? cancel(form, *pending, limit, ended)
				     : fate == destroyed ? destroy(form, *pending, limit, ended)
							 : take_away(form, *pending, limit, ended);
			for (const Step &step : scene.steps)
				act(form, step, *world);
			result.ended_by = judge.ended_by;
		} else {
			for (; result.ended_by < judge.ended_by &&
			       size_t(result.ended_by + 1) < scene.steps.size();) {
				if (form.ended(*pending))
					break;
				++result.ended_by;
				act(form, scene.steps[size_t(result.ended_by)], *world);
			}
			const bool never =
				size_t(judge.ended_by) == scene.steps.size() && judge.ended_by >= 0;
			if (never && judge.part && op.receives() && (op.flags & MSG_PEEK) == 0)
				let_take(form, *pending, *world);
			if (never && !form.ended(*pending)) {
				result.end = cancel(form, *pending, limit, ended);
				result.ended_by = judge.ended_by;
			} else {
				ended = form.finish(*pending, limit);
				result.end =
					ended ? form.told(*pending) : "nothing: it still waits";
				if (!ended)
					cancel(form, *pending, patience_when_known, ended);
			}
		}
		form.leave(*pending);
		if (scene.leaves)
			result.left = left_in(*world, op.receives() && ended && fate != destroyed
							      ? form.outcome_of(*pending).result
							      : 0);
		if (fate == destroyed)
			(void)pending.release(); // the kernel lets go of its memory soon, which
						 // cannot be learned
		else if (!ended || pending->events > 1)
			abandon(form, world, pending);
		if (fate == destroyed)
			form.renew();
		return result.text(scene);
	}
	/// A receive that goes on part by part takes what is there before it is cancelled, as the
	/// call by hand did.
	void let_take(Form &form, Pending &pending, World &world)
	{
		const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(1);
		int left = 1;
		while (!form.ended(pending) && ioctl(world.subject(), FIONREAD, &left) == 0 &&
		       left > 0 && std::chrono::steady_clock::now() < until) {
			form.pump();
			std::this_thread::sleep_for(std::chrono::milliseconds(1));
		}
	}
	std::string cancel(Form &form, Pending &pending, std::chrono::milliseconds limit,
			   bool &ended)
	{
		std::string answer;
		const bool taken_back = form.cancel(pending, answer);
		ended = form.finish(pending, taken_back ? limit : patience_when_known);
		if (!taken_back && ended && isdigit(form.told(pending)[0]) != 0 &&
		    pending.call.op.receives())
			return form.told(pending);
		if (!taken_back)
			return "not cancelled (" + answer +
			       "): " + (ended ? form.told(pending) : "it still waits");
		if (!ended)
			return "cancelled, but it never ends";
		std::string const told = form.told(pending);
		const bool plain =
			told.starts_with("ECANCELED") && told.find(" event") == std::string::npos;
		return plain                   ? "cancelled"
		       : isdigit(told[0]) != 0 ? told
					       : "cancelled, but " + told;
	}
	std::string take_away(Form &form, Pending &pending, std::chrono::milliseconds limit,
			      bool &ended)
	{
		form.lose(pending);
		ended = form.finish(pending, limit);
		if (!ended)
			return "taken away, but it never ends";
		std::string const told = form.told(pending);
		return told.starts_with("ECANCELED") ? "cancelled" : told;
	}
	std::string destroy(Form &form, Pending &pending, std::chrono::milliseconds limit,
			    bool &ended)
	{
		if (form.destroy() != 0)
			return "ec_destroy: " + error_name(errno);
		ended = form.is_one_call() || form.finish(pending, limit);
		if (form.is_one_call())
			return "cancelled";
		if (!ended)
			return "destroyed, but it never ends";
		const int error = aio_error(&pending.cb);
		return error == ECANCELED ? "cancelled" : "destroyed, but " + error_name(error);
	}
	/// The other side's doing, while this side's thread looks after its channel.
	void act(Form &form, const Step &step, World &world)
	{
		helper_.begin([&] { step.act(world); });
		while (!helper_.done())
			form.pump();
		helper_.join();
	}
	/// What has not ended keeps its memory and its descriptors; its channel is given up.
	void abandon(Form &form, std::unique_ptr<World> &world, std::unique_ptr<Pending> &pending)
	{
		form.renew();
		(void)world.release();
		(void)pending.release();
	}

	std::vector<std::unique_ptr<Form>> forms_;
	std::map<std::string, Result> judged_;
	unsigned one_of_ = 1;
	Hand hand_, helper_;
};
inline std::vector<std::unique_ptr<Form>> forms_of_requests()
{
	std::vector<std::unique_ptr<Form>> out;
	for (Form::Kind kind : Form::kinds)
		out.push_back(std::make_unique<Form>(kind));
	return out;
}
inline Table &table()
{
	static auto &one = *new Table(forms_of_requests());
	return one;
}

/// To be the last case of a program.
inline void check_known_cells()
{
	for (const std::string &cell : tally.passed())
		BOOST_ERROR("known to fail, and does not: take it off the list: " << cell);
	BOOST_TEST_MESSAGE(tally.cells << " cells, " << tally.failures << " failed, "
				       << tally.unsteady << " unsteady");
}

} // namespace contract

#include "table_links.hpp"
#include "table_scenes.hpp"

#endif
