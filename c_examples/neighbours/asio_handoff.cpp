/*
 * asio_handoff: netfd accepts, reads the first line under a deadline, and hands the
 * connection to an asio::io_context, which goes on with it.
 *
 * What libuv_handoff.c shows, in C++: netfd_detach() gives the descriptor back open,
 * tcp::socket::assign() takes it. An accept loop is not all that can go that
 * way: whatever is easier to write in blocking style, the greeting or the
 * login of a protocol, is done in a fiber, and the rest in callbacks.
 *
 * Build: make -C c_examples; or, once that has built the library,
 *   c++ -std=c++17 -pthread -Iinclude c_examples/neighbours/asio_handoff.cpp -o asio_handoff \
 *      -Lc_examples/build -lnetfd -Wl,-rpath,c_examples/build
 * Run: c_examples/build/asio_handoff [CLIENTS [BYTES]]
 */
#include "netfd.h"
#include "../example.h"
#include "first_line.h"

#include <array>
#include <asio.hpp>
#include <atomic>
#include <memory>
#include <string>
#include <utility>

using asio::ip::tcp;

/* From here on a connection is asio's: echoes until the other end has sent all. */
class guest : public std::enable_shared_from_this<guest> {
public:
    guest(tcp::socket socket, std::string line)
        : socket_(std::move(socket)), line_(std::move(line)) {}

    /* The line goes back first, as it came. */
    void start() { send(asio::buffer(line_)); }

private:
    void send(asio::const_buffer what) {
        auto then = [self = shared_from_this()](std::error_code failed, std::size_t) {
            if (!failed) self->receive();
        };
        asio::async_write(socket_, what, then);
    }

    void receive() {
        auto then = [self = shared_from_this()](std::error_code failed, std::size_t n) {
            if (!failed) self->send(asio::buffer(self->buf_.data(), n));
        };
        socket_.async_read_some(asio::buffer(buf_), then);
    }

    tcp::socket socket_;
    std::string line_;
    std::array<char, 4096> buf_{};
};

using open_door = asio::executor_work_guard<asio::io_context::executor_type>;

static asio::io_context context;
static netfd_cancel *stop;
static netfd_group *clients, *helpers;
static char at[NETFD_ADDR_TEXT];
static int bytes = 100000;
static std::atomic<int> late;

/* In a fiber, one for each connection. */
static void welcome(int fd, void *) {
    char text[32];

    check(netfd_set_read_deadline(fd, netfd_after(2 * SECOND)));
    ssize_t len = read_first_line(fd, text, sizeof text);
    if (len < 0) {
        if (len == NETFD_EDEADLINE) late++;
        return; /* netfd_serve() destroys it */
    }
    std::string line(text, static_cast<std::size_t>(len));
    line += '\n';
    fd = static_cast<int>(check(netfd_detach(fd)));
    asio::post(context, [fd, line = std::move(line)] {
        std::error_code failed;
        tcp::socket socket(context);

        if (socket.assign(tcp::v4(), fd, failed)) {
            ::close(fd);
            fail(failed.message().c_str());
        }
        std::make_shared<guest>(std::move(socket), line)->start();
    });
}

static void serve(void *listener) {
    check(netfd_serve(*static_cast<int *>(listener), welcome, nullptr, nullptr));
    netfd_group_done(helpers);
}

/* Clients, which are netfd's: a fiber each, and another that sends. */

static void send_all(void *arg) {
    int fd = static_cast<int>(reinterpret_cast<intptr_t>(arg));

    for (int i = 0; i < bytes; i += 1000) {
        std::string part(1000, static_cast<char>('a' + i / 1000 % 26));
        write_whole(fd, part.data(), part.size());
    }
    check(netfd_shutdown(fd, SHUT_WR));
    netfd_group_done(clients);
}

static void talk(void *arg) {
    int fd = static_cast<int>(check(netfd_dial("tcp", at, nullptr)));
    std::string number = std::to_string(reinterpret_cast<intptr_t>(arg));
    std::string hello = "client " + number + "\nfirst";
    std::string back(hello.size(), ' ');

    check(netfd_set_deadline(fd, netfd_after(20 * SECOND)));
    /* In one piece, so that too much could be taken. */
    write_whole(fd, hello.data(), hello.size());
    check(netfd_group_add(clients, 1));
    check(netfd_go(send_all, reinterpret_cast<void *>(static_cast<intptr_t>(fd))));
    read_whole(fd, &back[0], back.size());
    if (back != hello) fail("asio_handoff: the first bytes are others");
    for (int i = 0; i < bytes; i += 1000) {
        std::string part(1000, ' ');

        read_whole(fd, &part[0], part.size());
        if (part != std::string(1000, static_cast<char>('a' + i / 1000 % 26)))
            fail("asio_handoff: what came back is not what was sent");
    }
    if (check(netfd_read(fd, &back[0], 1)) != 0) fail("asio_handoff: more came back than was sent");
    check(netfd_destroy(fd));
    netfd_group_done(clients);
}

static void say_nothing(void *) {
    int fd = static_cast<int>(check(netfd_dial("tcp", at, nullptr)));
    char byte;

    check(netfd_set_deadline(fd, netfd_after(20 * SECOND)));
    if (check(netfd_read(fd, &byte, 1)) != 0) fail("asio_handoff: who says nothing is not sent away");
    check(netfd_destroy(fd));
    netfd_group_done(clients);
}

static void all_clients(void *count) {
    int n = *static_cast<int *>(count);

    check(netfd_group_add(clients, n + 1));
    check(netfd_go(say_nothing, nullptr));
    for (intptr_t i = 0; i < n; i++) check(netfd_go(talk, reinterpret_cast<void *>(i)));
    check(netfd_group_wait(clients, NETFD_NO_DEADLINE, nullptr));
    netfd_cancel_fire(stop);
    netfd_group_done(helpers);
}

int main(int argc, char **argv) {
    int count = argc > 1 ? std::atoi(argv[1]) : 50;
    if (argc > 2) bytes = std::atoi(argv[2]) / 1000 * 1000;

    stop = netfd_cancel_new();
    clients = netfd_group_new();
    helpers = netfd_group_new();
    if (stop == nullptr || clients == nullptr || helpers == nullptr) fail("out of memory");
    int listener = static_cast<int>(check(netfd_listen("tcp", "127.0.0.1:0", nullptr)));
    sockaddr_storage where;
    socklen_t len = sizeof where;
    check(netfd_local_addr(listener, reinterpret_cast<sockaddr *>(&where), &len));
    check(netfd_addr_format(reinterpret_cast<sockaddr *>(&where), len, at, sizeof at));
    check(netfd_set_cancel(listener, stop));
    check(netfd_group_add(helpers, 2));
    check(netfd_go(serve, &listener));
    check(netfd_go(all_clients, &count));

    /* The loop runs while somebody may still come, and then out. */
    open_door door(context.get_executor());
    pthread_t closer = start([](void *arg) -> void * {
        check(netfd_group_wait(helpers, NETFD_NO_DEADLINE, nullptr));
        static_cast<open_door *>(arg)->reset();
        return nullptr;
    }, &door);
    context.run();
    pthread_join(closer, nullptr);
    if (late != 1) fail("asio_handoff: a deadline does not end what it should");
    std::printf("asio_handoff: %d connections were handed over, and not a byte was lost\n", count);

    check(netfd_destroy(listener));
    netfd_group_free(helpers);
    netfd_group_free(clients);
    netfd_cancel_free(stop);
    return 0;
}
