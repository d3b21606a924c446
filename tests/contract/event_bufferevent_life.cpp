// SPDX-License-Identifier: MIT
//
// bufferevent_sigevec_new: descriptors, connections, options, threads, filters and ends of life, as with bufferevent_socket_new.
#define BOOST_TEST_MODULE event_bufferevent_life
#include "libevent.hpp"

#include <event2/http.h>
#include <event2/listener.h>

using namespace contract;

namespace {

bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

/// What connects to a listener, and what the listener accepts.
struct Connecting {
    Connecting(Base& base, Kind const& kind, int fd = -1, int options = BEV_OPT_CLOSE_ON_FREE)
        : bev(kind.make(base, fd, options)) {
        listen_to(bev, told);
    }
    ~Connecting() { bufferevent_free(bev); }
    bufferevent* bev;
    Told told;
};

}  // namespace

// ---------------------------------------------------------------- the descriptor

BOOST_AUTO_TEST_CASE(the_descriptor_is_told_and_can_be_exchanged) {
    for_each_kind([](Kind const& kind) {
        Base base;
        Connection c(base, kind);
        Sockets other;
        BOOST_TEST(bufferevent_getfd(c.bev) == int(c.ours));
        BOOST_TEST((bufferevent_get_base(c.bev) == static_cast<event_base*>(base)));
        bufferevent_enable(c.bev, EV_READ);
        c.send("one");
        BOOST_TEST(base.until([&] { return c.told.data == "one"; }));
        BOOST_TEST(bufferevent_setfd(c.bev, other.ours) == 0);
        BOOST_TEST(bufferevent_getfd(c.bev) == int(other.ours));
        c.send("not for it");
        other.send(" two");
        BOOST_TEST(base.until([&] { return c.told.data == "one two"; }));
        bufferevent_write(c.bev, "answer", 6);
        BOOST_TEST(base.until([&] { return output_length(c.bev) == 0; }));
        BOOST_TEST(other.received() == "answer");
        BOOST_TEST(c.unread() == 10);
        BOOST_TEST(bufferevent_setfd(c.bev, -1) == 0);
        BOOST_TEST(bufferevent_getfd(c.bev) == -1);
        other.send("nor this");
        base.settle();
        BOOST_TEST(c.told.data == "one two");
        BOOST_TEST(is_open(other.ours));
    });
}

BOOST_AUTO_TEST_CASE(it_is_closed_with_the_bufferevent_if_that_was_asked_for) {
    for_each_kind([](Kind const& kind) {
        for (bool close : {false, true}) {
            Base base;
            Connection c(base, kind, close ? BEV_OPT_CLOSE_ON_FREE : 0);
            bufferevent_enable(c.bev, EV_READ);
            base.settle();  // a receive is under way
            c.free();
            if (!close) {  // from now on the descriptor is the program's
                c.send("text");
                base.settle();
                BOOST_TEST(c.unread() == 4);
                continue;
            }
            int const fd = c.ours.release();
            char byte;
            BOOST_TEST(base.until([&] { return recv(c.peer, &byte, 1, MSG_DONTWAIT) == 0; }));
            BOOST_TEST(!is_open(fd));
        }
    });
}

BOOST_AUTO_TEST_CASE(a_number_that_is_used_again_is_the_new_file) {
    for_each_kind([](Kind const& kind) {
        Base base;
        for (int round = 0; round < 20; ++round) {
            Connection c(base, kind, BEV_OPT_CLOSE_ON_FREE);
            c.ours.release();
            bufferevent_enable(c.bev, EV_READ);
            c.send("text");
            if (round % 2 == 0) {
                BOOST_TEST_REQUIRE(base.until([&] { return c.told.data == "text"; }));
            } else
                event_base_loop(base, EVLOOP_NONBLOCK);
            c.free();
            event_base_loop(base, EVLOOP_NONBLOCK);
        }
    });
}

BOOST_AUTO_TEST_CASE(a_pipe_works_too) {
    for_each_kind([](Kind const& kind) {
        Base base;
        int ends[2];
        BOOST_TEST_REQUIRE(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
        Told told;
        bufferevent* const out = kind.make(base, ends[1], BEV_OPT_CLOSE_ON_FREE);
        bufferevent* const in = kind.make(base, ends[0], BEV_OPT_CLOSE_ON_FREE);
        listen_to(in, told);
        bufferevent_enable(in, EV_READ);
        bufferevent_write(out, "through", 7);
        BOOST_TEST(base.until([&] { return told.data == "through"; }));
        bufferevent_free(out);
        BOOST_TEST(base.until([&] { return told.events == (BEV_EVENT_EOF | BEV_EVENT_READING); }));
        bufferevent_free(in);
    });
}

// ---------------------------------------------------------------- connections

BOOST_AUTO_TEST_CASE(a_connection_is_told_before_what_was_written_is_sent) {
    for_each_kind([](Kind const& kind) {
        for (bool own_socket : {false, true}) {
            Base base;
            Listener listener;
            int const fd = own_socket ? socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
            Connecting c(base, kind, fd);
            bufferevent_write(c.bev, "early", 5);
            bufferevent_enable(c.bev, EV_READ);
            BOOST_TEST(bufferevent_socket_connect(c.bev, listener.to(), sizeof listener.address) == 0);
            BOOST_TEST(base.until([&] { return c.told.event_calls == 1; }));
            BOOST_TEST(c.told.events == BEV_EVENT_CONNECTED);
            BOOST_TEST(bufferevent_getfd(c.bev) >= 0);
            Fd accepted(accept4(listener.fd, nullptr, nullptr, SOCK_CLOEXEC));
            BOOST_TEST(base.until([&] { return output_length(c.bev) == 0; }));
            char text[10] = "";
            BOOST_TEST(recv(accepted, text, 5, MSG_WAITALL) == 5);
            BOOST_TEST(text == "early");
            for (int round = 0; round < 3; ++round) {
                BOOST_TEST(send(accepted, "12345", 5, 0) == 5);
                BOOST_TEST(base.until([&] { return c.told.data.size() == 5u * size_t(round + 1); }));
                bufferevent_write(c.bev, "67890", 5);
                BOOST_TEST(base.until([&] { return output_length(c.bev) == 0; }));
                BOOST_TEST(recv(accepted, text, 5, MSG_WAITALL) == 5);
            }
            BOOST_TEST(c.told.event_calls == 1);
        }
    });
}

BOOST_AUTO_TEST_CASE(a_refused_connection_is_an_error_and_may_be_tried_again) {
    for_each_kind([](Kind const& kind) {
        Base base;
        Listener listener, closed;
        closed.fd.reset();
        Connecting c(base, kind);
        BOOST_TEST(bufferevent_socket_connect(c.bev, closed.to(), sizeof closed.address) == 0);
        BOOST_TEST(base.until([&] { return c.told.event_calls == 1; }));
        BOOST_TEST((c.told.events & BEV_EVENT_ERROR) != 0);
        BOOST_TEST((c.told.events & BEV_EVENT_CONNECTED) == 0);
        int const fd = bufferevent_getfd(c.bev);
        bufferevent_setfd(c.bev, -1);
        close(fd);
        BOOST_TEST(bufferevent_socket_connect(c.bev, listener.to(), sizeof listener.address) == 0);
        BOOST_TEST(base.until([&] { return (c.told.events & BEV_EVENT_CONNECTED) != 0; }));
    });
}

BOOST_AUTO_TEST_CASE(a_bufferevent_freed_while_connecting_tells_nothing) {
    for_each_kind([](Kind const& kind) {
        Base base;
        Listener listener;
        Told told;
        bufferevent* const bev = kind.make(base, -1, BEV_OPT_CLOSE_ON_FREE);
        listen_to(bev, told);
        bufferevent_enable(bev, EV_READ | EV_WRITE);
        BOOST_TEST(bufferevent_socket_connect(bev, listener.to(), sizeof listener.address) == 0);
        bufferevent_free(bev);
        base.settle();
        BOOST_TEST(told.event_calls + told.reads + told.writes == 0);
    });
}

// ---------------------------------------------------------------- callbacks

BOOST_AUTO_TEST_CASE(it_may_be_freed_in_each_callback) {
    for_each_kind([](Kind const& kind) {
        for (int options : {0, int(BEV_OPT_DEFER_CALLBACKS), int(BEV_OPT_THREADSAFE)}) {
            Base base;
            Connection reader(base, kind, options), writer(base, kind, options), ender(base, kind, options);
            reader.told.on_read = [&](bufferevent*) { reader.free(); };
            writer.told.on_write = [&](bufferevent*) { writer.free(); };
            ender.told.on_event = [&](bufferevent*, short) { ender.free(); };
            for (Connection* c : {&reader, &writer, &ender}) bufferevent_enable(c->bev, EV_READ);
            reader.send("text");
            bufferevent_write(writer.bev, "text", 4);
            ender.peer.reset();
            BOOST_TEST(base.until([&] { return !reader.bev && !writer.bev && !ender.bev; }));
            base.settle();
            BOOST_TEST(reader.told.reads == 1);
            BOOST_TEST(writer.told.writes == 1);
            BOOST_TEST(ender.told.event_calls == 1);
        }
    });
}

BOOST_AUTO_TEST_CASE(deferred_callbacks_run_from_the_loop_alone) {
    for_each_kind([](Kind const& kind) {
        for (bool defer : {false, true}) {
            Base base;
            Connection c(base, kind, defer ? BEV_OPT_DEFER_CALLBACKS : 0), other(base, kind);
            bool inside = false, nested = false;
            c.told.on_event = [&](bufferevent*, short) { nested = nested || inside; };
            other.told.on_read = [&](bufferevent*) {
                inside = true;
                bufferevent_trigger_event(c.bev, BEV_EVENT_READING, 0);
                inside = false;
            };
            bufferevent_enable(other.bev, EV_READ);
            other.send("text");
            BOOST_TEST(base.until([&] { return c.told.event_calls == 1; }));
            BOOST_TEST(nested == !defer);
            bufferevent_enable(c.bev, EV_READ);
            c.send("and data as ever");
            BOOST_TEST(base.until([&] { return c.told.data == "and data as ever"; }));
            c.peer.reset();
            BOOST_TEST(base.until([&] { return (c.told.events & BEV_EVENT_EOF) != 0; }));
        }
    });
}

BOOST_AUTO_TEST_CASE(unlocked_callbacks_leave_the_bufferevent_to_other_threads) {
    for_each_kind([](Kind const& kind) {
        BOOST_TEST((kind.make(Base(), -1, BEV_OPT_UNLOCK_CALLBACKS) == nullptr));  // only with deferred ones
        Base base;
        Connection c(base, kind, BEV_OPT_THREADSAFE | BEV_OPT_DEFER_CALLBACKS | BEV_OPT_UNLOCK_CALLBACKS);
        bool locked = false;
        c.told.on_read = [&](bufferevent* bev) {
            std::thread([&] {
                bufferevent_lock(bev);
                locked = true;
                bufferevent_unlock(bev);
            }).join();
        };
        bufferevent_enable(c.bev, EV_READ);
        c.send("text");
        BOOST_TEST(base.until([&] { return c.told.reads == 1; }));
        BOOST_TEST(locked);
    });
}

BOOST_AUTO_TEST_CASE(a_bufferevent_with_a_higher_priority_is_told_first) {
    for_each_kind([](Kind const& kind) {
        Base base;
        event_base_priority_init(base, 3);
        Connection late(base, kind), early(base, kind);
        BOOST_TEST(bufferevent_priority_set(late.bev, 2) == 0);
        BOOST_TEST(bufferevent_priority_set(early.bev, 0) == 0);
        BOOST_TEST(bufferevent_get_priority(early.bev) == 0);
        bool told_before = false;
        late.told.on_read = [&](bufferevent*) { told_before = early.told.reads == 1; };
        late.send("late");
        early.send("early");
        for (Connection* c : {&late, &early}) bufferevent_enable(c->bev, EV_READ);
        BOOST_TEST(base.until([&] { return late.told.reads == 1 && early.told.reads == 1; }));
        BOOST_TEST(told_before);
    });
}

BOOST_AUTO_TEST_CASE(a_flush_of_a_socket_has_nothing_to_do) {
    for_each_kind([](Kind const& kind) {
        Base base;
        Connection c(base, kind);
        BOOST_TEST(bufferevent_flush(c.bev, EV_READ | EV_WRITE, BEV_FLUSH) == 0);
        BOOST_TEST(bufferevent_flush(c.bev, EV_WRITE, BEV_FINISHED) == 0);
    });
}

// ---------------------------------------------------------------- filters, and libevent's own users

namespace {

bufferevent_filter_result invert(evbuffer* from, evbuffer* to, ev_ssize_t, bufferevent_flush_mode, void*) {
    std::string text(evbuffer_get_length(from), '\0');
    evbuffer_remove(from, text.data(), text.size());
    for (char& c : text) c = char(~c);
    return text.empty() || evbuffer_add(to, text.data(), text.size()) != 0 ? BEV_NEED_MORE : BEV_OK;
}

}  // namespace

BOOST_AUTO_TEST_CASE(filters_work_on_top) {
    for_each_kind([](Kind const& kind) {
        Base base;
        Connection c(base, kind);
        Told told;
        std::string const text = pattern_text(300000);
        std::string inverted = text;
        for (char& x : inverted) x = char(~x);
        bufferevent* const filter = bufferevent_filter_new(c.bev, invert, invert, BEV_OPT_CLOSE_ON_FREE, nullptr, nullptr);
        c.bev = nullptr;  // the filter's
        listen_to(filter, told);
        bufferevent_enable(filter, EV_READ | EV_WRITE);
        BOOST_TEST(bufferevent_getfd(bufferevent_get_underlying(filter)) == int(c.ours));
        bufferevent_write(filter, text.data(), text.size());
        std::string got;
        size_t sent = 0;
        BOOST_TEST(base.until([&] {
            got += c.received();
            if (ssize_t n = send(c.peer, inverted.data() + sent, inverted.size() - sent, MSG_NOSIGNAL); n > 0) sent += size_t(n);
            return got.size() == text.size() && told.data.size() == text.size();
        }));
        BOOST_TEST((got == inverted));
        BOOST_TEST((told.data == text));
        shutdown(c.peer, SHUT_WR);
        BOOST_TEST(base.until([&] { return (told.events & BEV_EVENT_EOF) != 0; }));
        bufferevent_free(filter);
        base.settle();
    });
}

BOOST_AUTO_TEST_CASE(libevents_http_server_runs_on_it) {
    for_each_kind([](Kind const& kind) {
        static bufferevent* (*make)(event_base*, evutil_socket_t, int);
        make = kind.make;
        Base base;
        evhttp* const http = evhttp_new(base);
        evhttp_set_bevcb(
            http, [](event_base* b, void*) { return make(b, -1, 0); }, nullptr);
        evhttp_set_gencb(
            http,
            [](evhttp_request* request, void*) {
                evbuffer* const body = evbuffer_new();
                evbuffer_add_buffer(body, evhttp_request_get_input_buffer(request));
                evhttp_send_reply(request, 200, "OK", body);
                evbuffer_free(body);
            },
            nullptr);
        evhttp_bound_socket* const bound = evhttp_bind_socket_with_handle(http, "127.0.0.1", 0);
        BOOST_TEST_REQUIRE(bound != nullptr);
        sockaddr_in address;
        socklen_t n = sizeof address;
        getsockname(evhttp_bound_socket_get_fd(bound), reinterpret_cast<sockaddr*>(&address), &n);

        evhttp_connection* const connection = evhttp_connection_base_bufferevent_new(
            base, nullptr, make(base, -1, BEV_OPT_CLOSE_ON_FREE), "127.0.0.1", ntohs(address.sin_port));
        std::string const text = pattern_text(200000);
        for (int round = 0; round < 3; ++round) {
            static std::string answer;
            static bool done;
            answer.clear();
            done = false;
            evhttp_request* const request = evhttp_request_new(
                [](evhttp_request* r, void*) {
                    done = true;
                    if (r == nullptr) return;
                    evbuffer* const body = evhttp_request_get_input_buffer(r);
                    answer.resize(evbuffer_get_length(body));
                    evbuffer_remove(body, answer.data(), answer.size());
                },
                nullptr);
            evbuffer_add(evhttp_request_get_output_buffer(request), text.data(), text.size());
            BOOST_TEST(evhttp_make_request(connection, request, EVHTTP_REQ_POST, "/") == 0);
            BOOST_TEST_REQUIRE(base.until([&] { return done; }));
            BOOST_TEST((answer == text));
        }
        evhttp_connection_free(connection);
        evhttp_free(http);
        base.settle();
    });
}

// ---------------------------------------------------------------- threads, loops and their ends

BOOST_AUTO_TEST_CASE(other_threads_write_while_the_loop_runs) {
    for_each_kind([](Kind const& kind) {
        Base base;
        Connection c(base, kind, BEV_OPT_THREADSAFE);
        constexpr size_t threads = 4, writes = 2000, size = 64;
        std::vector<std::thread> writers;
        for (size_t i = 0; i < threads; ++i)
            writers.emplace_back([&, i] {
                std::string const line(size, char('a' + i));
                for (size_t w = 0; w < writes; ++w) bufferevent_write(c.bev, line.data(), line.size());
            });
        std::string got;
        BOOST_TEST(base.until([&] {
            got += c.received();
            return got.size() == threads * writes * size;
        }));
        for (auto& w : writers) w.join();
        for (size_t at = 0; at < got.size(); at += size)
            BOOST_TEST_REQUIRE((got.substr(at, size) == std::string(size, got[at])));
    });
}

BOOST_AUTO_TEST_CASE(another_thread_may_run_the_loop_or_free_the_bufferevent) {
    for_each_kind([](Kind const& kind) {
        Base base;
        auto c = std::make_unique<Connection>(base, kind, BEV_OPT_THREADSAFE | BEV_OPT_CLOSE_ON_FREE);
        c->ours.release();
        bufferevent_enable(c->bev, EV_READ);
        std::atomic<bool> heard{false};
        c->told.on_read = [&](bufferevent* bev) {
            bufferevent_write(bev, "answer", 6);
            heard = true;
        };
        std::thread loop([&] { event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY); });
        c->send("question");
        BOOST_TEST(eventually([&] { return heard.load(); }));
        std::string got;
        BOOST_TEST(eventually([&] { return (got += c->received()) == "answer"; }));
        c->free();
        char byte;
        BOOST_TEST(eventually([&] { return recv(c->peer, &byte, 1, MSG_DONTWAIT) == 0; }));
        event_base_loopbreak(base);
        loop.join();
        base.settle();
        BOOST_TEST(c->told.reads == 1);
    });
}

BOOST_AUTO_TEST_CASE(the_loop_ends_when_nobody_waits_any_more) {
    for_each_kind([](Kind const& kind) {
        Base base;
        {
            Connection c(base, kind);
            BOOST_TEST(event_base_dispatch(base) == 1);
            bufferevent_enable(c.bev, EV_READ);
            c.told.on_read = [](bufferevent* bev) { bufferevent_disable(bev, EV_READ); };
            c.send("text");
            BOOST_TEST(event_base_dispatch(base) == 1);
            BOOST_TEST(c.told.reads == 1);
            bufferevent_write(c.bev, "text", 4);
            BOOST_TEST(event_base_dispatch(base) == 1);
            BOOST_TEST(c.received() == "text");
            std::string const much = pattern_text(4000000);
            bufferevent_write(c.bev, much.data(), much.size());
            base.settle();  // it waits for room
            bufferevent_disable(c.bev, EV_WRITE);
            BOOST_TEST(event_base_dispatch(base) == 1);
            bufferevent_enable(c.bev, EV_READ);
            base.settle();
        }
        BOOST_TEST(event_base_dispatch(base) == 1);
    });
}

BOOST_AUTO_TEST_CASE(a_base_may_be_freed_right_after_its_bufferevents) {
    for_each_kind([](Kind const& kind) {
        for (int round = 0; round < 5; ++round) {
            Sockets s;
            auto base = std::make_unique<Base>();
            bufferevent* const bev = kind.make(*base, s.ours.release(), BEV_OPT_CLOSE_ON_FREE);
            bufferevent_enable(bev, EV_READ);
            if (round % 2 == 0) base->settle();
            bufferevent_free(bev);
            base.reset();
            char byte;
            BOOST_TEST(eventually([&] { return recv(s.peer, &byte, 1, MSG_DONTWAIT) == 0; }));  // closed
        }
    });
}

BOOST_AUTO_TEST_CASE(a_child_of_fork_makes_its_own) {
    for_each_kind([](Kind const& kind) {
        Base base;
        Connection of_parent(base, kind);
        bufferevent_enable(of_parent.bev, EV_READ);
        base.settle();
        pid_t const child = fork();
        if (child == 0) {
            if (event_reinit(base) != 0) _exit(2);
            bufferevent_free(of_parent.bev);
            Base own;
            Connection c(own, kind);
            bufferevent_enable(c.bev, EV_READ);
            c.send("in the child");
            _exit(own.until([&] { return c.told.data == "in the child"; }) ? 0 : 1);
        }
        int status = -1;
        BOOST_TEST(waitpid(child, &status, 0) == child);
        BOOST_TEST(status == 0);
        of_parent.send("in the parent");
        BOOST_TEST(base.until([&] { return of_parent.told.data == "in the parent"; }));
    });
}

BOOST_AUTO_TEST_CASE(hundreds_of_connections_share_one_channel) {
    for_each_kind([](Kind const& kind) {
        Base base;
        std::vector<std::unique_ptr<Connection>> all;
        for (int i = 0; i < 300; ++i) {
            all.push_back(std::make_unique<Connection>(base, kind));
            all.back()->told.on_read = [](bufferevent* bev) { bufferevent_write(bev, "back", 4); };
            bufferevent_enable(all.back()->bev, EV_READ);
        }
        for (int round = 0; round < 5; ++round) {
            for (auto& c : all) c->send("there");
            std::vector<std::string> got(all.size());
            BOOST_TEST(base.until([&] {
                size_t done = 0;
                for (size_t i = 0; i < all.size(); ++i) done += (got[i] += all[i]->received()) == "back";
                return done == all.size();
            }));
        }
    });
}
