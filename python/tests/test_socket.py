# SPDX-License-Identifier: MIT OR Apache-2.0
"""netfd.Socket: what the standard socket lacks, and what it must not lose."""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import gc
import io
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import warnings
from typing import Any, Callable

from common import GUARD, Case, Thread, fill, in_child, in_socket_s_place, until_parked

import netfd


class Close(Case):
    """The calls that are blocked, each in its turn."""

    def wakes(self, sock: netfd.Socket, call: Callable[[], Any]) -> None:
        blocked = Thread(call)
        until_parked()
        sock.close()
        with self.assertRaises(netfd.ClosedError) as caught:
            blocked.result()
        self.assertEqual(caught.exception.errno, errno.EBADF)

    def test_it_wakes_a_blocked_recv(self) -> None:
        ours, _ = self.pair()
        self.wakes(ours, lambda: ours.recv(1))

    def test_it_wakes_a_blocked_recv_into(self) -> None:
        ours, _ = self.pair()
        self.wakes(ours, lambda: ours.recv_into(bytearray(1)))

    def test_it_wakes_a_recv_with_a_timeout(self) -> None:
        ours, _ = self.pair()
        ours.settimeout(GUARD)
        self.wakes(ours, lambda: ours.recv(1))

    def test_it_wakes_a_blocked_recvfrom(self) -> None:
        ours, _ = self.pair(socket.SOCK_DGRAM)
        self.wakes(ours, lambda: ours.recvfrom(1))

    def test_it_wakes_a_blocked_recvmsg(self) -> None:
        ours, _ = self.pair()
        self.wakes(ours, lambda: ours.recvmsg(1))

    def test_it_wakes_a_blocked_accept(self) -> None:
        listener = self.listener()
        self.wakes(listener, listener.accept)

    def test_it_wakes_a_blocked_send(self) -> None:
        ours, _ = self.pair()
        fill(ours)
        self.wakes(ours, lambda: ours.send(b"x"))

    def test_it_wakes_a_blocked_sendall(self) -> None:
        ours, _ = self.pair()
        self.wakes(ours, lambda: ours.sendall(bytes(8 << 20)))

    def test_it_wakes_a_sendall_with_a_timeout(self) -> None:
        ours, _ = self.pair()
        ours.settimeout(GUARD)
        self.wakes(ours, lambda: ours.sendall(bytes(8 << 20)))

    def test_it_wakes_a_blocked_sendmsg(self) -> None:
        ours, _ = self.pair()
        fill(ours)
        self.wakes(ours, lambda: ours.sendmsg([b"x"]))

    def test_it_wakes_a_blocked_sendfile(self) -> None:
        ours, _ = self.pair()
        with tempfile.TemporaryFile() as file:
            file.truncate(8 << 20)
            self.wakes(ours, lambda: ours.sendfile(file))

    def test_it_wakes_a_blocked_connect(self) -> None:
        where, client = self.silent(), netfd.Socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        blocked = Thread(lambda: client.connect(where))
        until_parked()
        client.close()
        self.assertRaises(netfd.ClosedError, blocked.result)

    def test_it_wakes_every_thread_that_is_blocked(self) -> None:
        ours, _ = self.pair()
        blocked = [Thread(lambda: ours.recv(1)) for _ in range(8)]
        until_parked(8)
        ours.close()
        for thread in blocked:
            with self.assertRaises(netfd.ClosedError):
                thread.result()

    def test_a_call_afterwards_fails_as_with_the_standard_socket(self) -> None:
        ours, _ = self.pair()
        ours.close()
        for call in (lambda: ours.recv(1), lambda: ours.send(b"x"), lambda: ours.recvfrom(1)):
            with self.assertRaises(OSError) as caught:
                call()
            self.assertEqual(caught.exception.errno, errno.EBADF)

    def test_closing_twice_does_no_harm(self) -> None:
        ours, _ = self.pair()
        ours.close()
        ours.close()
        self.assertEqual(ours.fileno(), -1)

    def test_a_handler_in_a_blocked_accept_may_close_the_listener(self) -> None:
        program = """
import errno, os, signal, netfd, threading
listener = netfd.listen("127.0.0.1:0")
signal.signal(signal.SIGTERM, lambda *_: listener.close())
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
try:
    listener.accept()
except OSError as error:
    print(error.errno == errno.EBADF)
"""
        told = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=GUARD
        )
        self.assertEqual((told.stdout, told.stderr), ("True\n", ""))

    def test_no_call_reaches_the_socket_that_gets_the_number_next(self) -> None:
        # Readers run into a close at any moment; the number is another's at once,
        # where a byte waits that is not theirs.
        stolen: list[bytes] = []
        rounds = 300
        for _ in range(rounds):
            ours, theirs = self.fresh_pair()
            number = ours.fileno()
            started = threading.Event()

            def read(sock: netfd.Socket = ours, started: threading.Event = started) -> None:
                started.set()
                try:
                    while True:
                        sock.setblocking(False)
                        try:
                            if sock.recv(1) == b"s":
                                stolen.append(b"s")
                        except BlockingIOError:
                            pass
                except OSError:
                    pass

            reader = Thread(read)
            started.wait(GUARD)
            ours.close()
            there, here = self.fresh_pair()
            here.send(b"s")
            reader.result()
            self.assertEqual(there.recv(1), b"s", f"{number} and {there.fileno()}")
            for sock in (theirs, there, here):
                sock.close()
        self.assertEqual(stolen, [])

    def fresh_pair(self) -> tuple[netfd.Socket, netfd.Socket]:
        one, other = (netfd.Socket(fileno=end.detach()) for end in socket.socketpair())
        return one, other

    def test_of_two_on_one_number_the_one_that_is_left_has_it(self) -> None:
        ours, theirs = self.pair()
        second = netfd.Socket(fileno=ours.fileno())
        ours.detach()
        theirs.send(b"x")
        self.assertEqual(second.recv(1), b"x")
        second.close()
        self.assertEqual(theirs.recv(1), b"")

    def test_of_two_on_one_number_the_second_does_not_close_a_stranger_s(self) -> None:
        ours, _ = self.pair()
        second = netfd.Socket(fileno=ours.fileno())
        number = ours.fileno()
        ours.close()
        stranger, peer = self.fresh_pair()
        self.assertIn(number, (stranger.fileno(), peer.fileno()))
        with self.assertRaises(OSError):
            second.close()
        self.assertEqual(peer.send(b"x"), 1)
        self.assertEqual(stranger.recv(1), b"x")
        stranger.close()
        peer.close()

    def test_a_socket_that_nobody_holds_is_closed_with_a_warning(self) -> None:
        ours, theirs = (netfd.Socket(fileno=end.detach()) for end in socket.socketpair())
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            del ours
            gc.collect()
        self.assertEqual([each.category for each in told], [ResourceWarning])
        self.assertEqual(theirs.recv(1), b"")
        theirs.close()

    def test_no_descriptor_is_left(self) -> None:
        def work() -> None:
            ours, theirs = self.connected()
            ours.sendall(b"x")
            theirs.recv(1)
            self.doCleanups()

        def sockets() -> int:
            there = 0
            for number in os.listdir("/proc/self/fd"):
                with contextlib.suppress(OSError):  # the folder's own
                    there += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
            return there

        work()
        before = sockets(), netfd.stats()["open_fds"]
        for _ in range(20):
            work()
        self.assertEqual((sockets(), netfd.stats()["open_fds"]), before)


class Deadlines(Case):
    def test_one_that_has_passed_fails_calls_though_there_is_data(self) -> None:
        ours, theirs = self.pair()
        theirs.send(b"x")
        ours.set_deadline(time.monotonic() - 1)
        for call in (lambda: ours.recv(1), lambda: ours.recvfrom(1), lambda: ours.send(b"x")):
            self.assertRaises(socket.timeout, call)
        ours.set_deadline(None)
        self.assertEqual(ours.recv(1), b"x")

    def test_it_ends_a_call_that_is_blocked_already(self) -> None:
        ours, _ = self.pair()
        blocked = Thread(lambda: ours.recv(1))
        until_parked()
        ours.set_deadline(time.monotonic())
        self.assertRaises(socket.timeout, blocked.result)

    def test_it_ends_a_call_that_has_a_longer_timeout(self) -> None:
        ours, _ = self.pair()
        ours.settimeout(2 * GUARD)
        blocked = Thread(lambda: ours.recv(1))
        until_parked()
        ours.set_read_deadline(time.monotonic())
        self.assertRaises(socket.timeout, blocked.result)

    def test_it_leaves_a_longer_wait_to_its_timeout(self) -> None:
        ours, _ = self.pair()
        ours.settimeout(0.05)
        ours.set_deadline(time.monotonic() + GUARD)
        began = time.monotonic()
        self.assertRaises(socket.timeout, lambda: ours.recv(1))
        self.assertLess(time.monotonic() - began, GUARD / 2)

    def test_one_that_is_moved_away_lets_a_blocked_call_go_on(self) -> None:
        ours, theirs = self.pair()
        ours.settimeout(GUARD)
        ours.set_deadline(time.monotonic() + GUARD / 2)
        blocked = Thread(lambda: ours.recv(1))
        until_parked()
        ours.set_deadline(None)
        theirs.send(b"x")
        self.assertEqual(blocked.result(), b"x")

    def test_directions_have_their_own(self) -> None:
        ours, theirs = self.pair()
        ours.set_write_deadline(time.monotonic())
        theirs.send(b"x")
        self.assertEqual(ours.recv(1), b"x")
        self.assertRaises(socket.timeout, lambda: ours.send(b"x"))
        ours.set_write_deadline(None)
        ours.set_read_deadline(time.monotonic())
        self.assertEqual(ours.send(b"x"), 1)
        self.assertRaises(socket.timeout, lambda: ours.recv(1))

    def test_it_ends_an_accept_and_a_connect(self) -> None:
        listener = self.listener()
        listener.set_deadline(time.monotonic())
        self.assertRaises(socket.timeout, listener.accept)
        client = netfd.Socket()
        self.addCleanup(client.close)
        client.set_deadline(time.monotonic())
        self.assertRaises(socket.timeout, lambda: client.connect(listener.getsockname()))


class Cancel(Case):
    def test_a_token_ends_blocked_calls_on_all_its_sockets(self) -> None:
        token = netfd.CancelToken()
        blocked = []
        for timeout in (None, GUARD):
            ours, _ = self.pair()
            ours.settimeout(timeout)
            ours.set_cancel(token)
            blocked.append(Thread(lambda ours=ours: ours.recv(1)))  # type: ignore[misc]
        until_parked(2)
        self.assertFalse(token.fired)
        token.fire()
        self.assertTrue(token.fired)
        for thread in blocked:
            with self.assertRaises(netfd.CanceledError) as caught:
                thread.result()
            self.assertEqual(caught.exception.errno, errno.ECANCELED)

    def test_it_can_be_set_on_a_call_that_is_blocked(self) -> None:
        ours, _ = self.pair()
        token = netfd.CancelToken()
        blocked = Thread(lambda: ours.recv(1))
        until_parked()
        ours.set_cancel(token)
        token.fire()
        self.assertRaises(netfd.CanceledError, blocked.result)

    def test_cancel_ends_calls_until_it_is_taken_back(self) -> None:
        ours, theirs = self.pair()
        blocked = Thread(lambda: ours.recv(1))
        until_parked()
        ours.cancel()
        self.assertRaises(netfd.CanceledError, blocked.result)
        theirs.send(b"x")
        for call in (lambda: ours.recv(1), lambda: ours.recvfrom(1)):
            self.assertRaises(netfd.CanceledError, call)
        ours.set_cancel(None)
        self.assertEqual(ours.recv(1), b"x")

    def test_a_token_may_be_let_go_while_sockets_have_it(self) -> None:
        ours, theirs = self.pair()
        ours.set_cancel(netfd.CancelToken())
        gc.collect()
        theirs.send(b"x")
        self.assertEqual(ours.recv(1), b"x")

    def test_a_moved_deadline_cancels_nobody(self) -> None:
        # What rouses waiting threads is a fired token, for a moment.
        ours, theirs = self.pair()
        ours.settimeout(GUARD)
        readers = [Thread(lambda: ours.recv(1)) for _ in range(4)]
        until_parked(4)
        for _ in range(200):
            ours.set_deadline(time.monotonic() + GUARD)
        theirs.send(b"xxxx")
        self.assertEqual([each.result() for each in readers], [b"x"] * 4)


class Drop(Case):
    """In the standard socket's place."""

    def test_it_is_a_socket_and_says_so(self) -> None:
        ours, _ = self.pair()
        self.assertIsInstance(ours, socket.socket)
        self.assertTrue(repr(ours).startswith("<netfd.Socket fd="), repr(ours))

    def test_timeouts_and_errors_are_the_standard_ones(self) -> None:
        ours, theirs = self.connected()
        ours.settimeout(0.01)
        self.assertRaises(socket.timeout, lambda: ours.recv(1))
        ours.settimeout(0)
        self.assertRaises(BlockingIOError, lambda: ours.recv(1))
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, array.array("i", [1, 0]))
        theirs.close()
        ours.settimeout(GUARD)
        self.assertRaises(ConnectionResetError, lambda: ours.recv(1))
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            where = closed.getsockname()
        client = netfd.Socket()
        self.addCleanup(client.close)
        self.assertRaises(ConnectionRefusedError, lambda: client.connect(where))
        self.assertEqual(client.connect_ex(where), errno.ECONNREFUSED)

    def test_a_write_to_a_connection_that_is_gone_is_a_broken_pipe(self) -> None:
        ours, theirs = self.pair()
        theirs.close()
        self.assertRaises(BrokenPipeError, lambda: ours.send(b"x"))
        self.assertRaises(BrokenPipeError, lambda: ours.sendall(b"x"))

    def test_bad_arguments_raise_what_the_standard_socket_raises(self) -> None:
        stock, peer = socket.socketpair()
        ours, _ = self.pair()
        with stock, peer:
            for call in (
                lambda s: s.recv(-1),
                lambda s: s.recv("1"),
                lambda s: s.recv_into(b"bytes"),
                lambda s: s.recv_into(bytearray(1), 2),
                lambda s: s.recv_into(bytearray(1), -1),
                lambda s: s.recv_into(memoryview(bytearray(4))[::2]),
                lambda s: s.send("text"),
                lambda s: s.sendall("text"),
                lambda s: s.sendall(None),
                lambda s: s.settimeout(-1),
                lambda s: s.settimeout("1"),
                lambda s: s.settimeout(float("nan")),
                lambda s: s.settimeout(1e300),
                lambda s: s.connect(1),
                lambda s: s.shutdown(9),
            ):
                raised = []
                for sock in (stock, ours):
                    with self.assertRaises(Exception) as caught:
                        call(sock)
                    raised.append(type(caught.exception))
                self.assertTrue(
                    issubclass(raised[1], raised[0]) or {*raised} == {TypeError, BufferError},
                    raised,
                )

    def test_every_kind_of_buffer_is_sent_whole(self) -> None:
        ours, theirs = self.pair()
        for data in (
            b"bytes",
            bytearray(b"bytearray"),
            memoryview(b"read-only view"),
            memoryview(bytearray(b"view"))[1:3],
            memoryview(b"a b c d ")[::2],
            array.array("i", [1, 2, 3]),
            b"",
        ):
            whole = memoryview(data).tobytes()
            for send in (ours.send, ours.sendall):
                send(data)
                self.assertEqual(theirs.recv(100, socket.MSG_DONTWAIT) if whole else b"", whole)

    def test_a_bytearray_can_grow_again_after_the_call(self) -> None:
        ours, theirs = self.pair()
        room = bytearray(4)
        theirs.send(b"abcd")
        self.assertEqual(ours.recv_into(room), 4)
        room.append(5)
        ours.send(room)
        room.append(6)
        self.assertEqual(bytes(room), b"abcd\5\6")

    def test_waitall_waits_for_all_of_it(self) -> None:
        ours, theirs = self.pair()
        for wait in (lambda: ours.recv(6, socket.MSG_WAITALL),):
            theirs.send(b"abc")
            blocked = Thread(wait)
            until_parked()
            theirs.send(b"def")
            self.assertEqual(blocked.result(), b"abcdef")

    def test_what_is_sent_by_several_threads_is_not_mingled(self) -> None:
        ours, theirs = self.pair()
        size, senders = 1 << 18, 4
        threads = [
            Thread(lambda letter=letter: ours.sendall(letter * size))  # type: ignore[misc]
            for letter in (b"a", b"b", b"c", b"d")
        ]
        got = b""
        while len(got) < size * senders:
            got += theirs.recv(1 << 20)
        for thread in threads:
            thread.result()
        self.assertEqual(
            {bytes(got[at : at + size]) for at in range(0, len(got), size)},
            {letter * size for letter in (b"a", b"b", b"c", b"d")},
        )

    def test_the_gil_is_let_go_in_a_blocked_call(self) -> None:
        ours, theirs = self.pair()
        blocked = Thread(lambda: ours.recv(1))
        until_parked()  # this thread runs
        theirs.send(b"x")
        self.assertEqual(blocked.result(), b"x")

    def test_a_file_object_reads_and_writes(self) -> None:
        ours, theirs = self.pair()
        with ours.makefile("rw", encoding="ascii") as file, theirs.makefile("rw") as other:
            file.write("line\n")
            file.flush()
            self.assertEqual(other.readline(), "line\n")

    def test_sendfile_moves_the_file_s_position_as_the_standard_one(self) -> None:
        for timeout in (None, GUARD):
            ours, theirs = self.pair()
            ours.settimeout(timeout)
            with tempfile.TemporaryFile() as file:
                file.write(b"0123456789")
                file.flush()
                for call in (
                    lambda: ours.sendfile(file, 2, 5),
                    lambda: Thread(lambda: ours.sendfile(file, 2, 5)).result(),
                ):
                    self.assertEqual(call(), 5)
                    self.assertEqual(file.tell(), 7)
                    self.assertEqual(theirs.recv(100), b"23456")
            self.assertEqual(ours.sendfile(io.BytesIO(b"no file")), 7)
            self.assertEqual(theirs.recv(100), b"no file")

    def test_descriptors_travel_by_the_standard_functions(self) -> None:
        ours, theirs = self.pair()
        out, into = os.pipe()
        socket.send_fds(ours, [b"x"], [into])
        _, fds, _, _ = socket.recv_fds(theirs, 1, 1)
        os.write(fds[0], b"through")
        self.assertEqual(os.read(out, 10), b"through")
        for fd in (out, into, fds[0]):
            os.close(fd)

    def test_a_detached_descriptor_is_as_the_standard_one_s(self) -> None:
        for timeout, blocking in ((None, True), (0.0, False)):
            ours, _ = self.pair()
            ours.settimeout(timeout)
            fd = ours.detach()
            self.assertEqual((ours.fileno(), os.get_blocking(fd)), (-1, blocking))
            os.close(fd)

    def test_setblocking_true_makes_the_descriptor_one_for_other_programs(self) -> None:
        ours, theirs = self.pair()
        ours.setblocking(True)
        self.assertTrue(os.get_blocking(ours.fileno()))
        theirs.send(b"x")
        self.assertEqual(ours.recv(1), b"x")
        self.assertFalse(os.get_blocking(ours.fileno()))

    def test_setblocking_true_leaves_it_alone_while_a_call_is_blocked(self) -> None:
        ours, theirs = self.pair()
        blocked = Thread(lambda: ours.recv(1))
        until_parked()
        ours.setblocking(True)
        self.assertFalse(os.get_blocking(ours.fileno()))
        theirs.send(b"x")
        self.assertEqual(blocked.result(), b"x")

    def test_what_the_module_makes_is_ours_once_in_its_place(self) -> None:
        with in_socket_s_place():
            one, other = socket.socketpair()
            with one, other:
                self.assertIs(type(one), netfd.Socket)
            with socket.create_server(("127.0.0.1", 0)) as server:
                with socket.create_connection(server.getsockname(), GUARD) as client:
                    conn, address = server.accept()
                    self.assertEqual(address, client.getsockname())
                    self.assertIs(type(conn), netfd.Socket)
                    conn.close()

    def test_the_default_timeout_holds(self) -> None:
        self.addCleanup(socket.setdefaulttimeout, None)
        socket.setdefaulttimeout(0.02)
        ours, _ = self.pair()
        with netfd.Socket() as made:
            self.assertEqual((ours.gettimeout(), made.gettimeout()), (0.02, 0.02))
        self.assertRaises(socket.timeout, lambda: ours.recv(1))

    def test_accepted_addresses_are_the_standard_ones_in_each_family(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s")
            for family, where, by in (
                (socket.AF_INET, ("127.0.0.1", 0), None),
                (socket.AF_INET6, ("::1", 0), None),
                (socket.AF_UNIX, path, None),
                (socket.AF_UNIX, path + "2", path + "-client"),
                (socket.AF_UNIX, "\0netfd-python-test-%d" % os.getpid(), None),
            ):
                with netfd.Socket(family) as server, socket.socket(family) as client:
                    try:
                        server.bind(where)
                    except OSError:
                        if family == socket.AF_INET6:
                            continue
                        raise
                    server.listen()
                    if by:
                        client.bind(by)
                    client.connect(server.getsockname())
                    conn, address = Thread(server.accept).result()
                    with conn:
                        self.assertEqual(address, client.getsockname())
                        self.assertEqual(address, conn.getpeername())

    def test_a_connect_in_time_succeeds_and_a_late_one_is_given_up(self) -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            where = full.getsockname()
            waiting = []
            with netfd.Socket() as late:
                late.settimeout(0.05)
                for _ in range(8):  # until the queue is full
                    first = netfd.Socket()
                    first.settimeout(0.05)
                    waiting.append(first)
                    if first.connect_ex(where) == errno.EAGAIN:
                        break
                else:
                    self.fail("the queue has no end")
                self.assertRaises(socket.timeout, lambda: late.connect(where))
                for first in waiting:
                    first.close()
                self.assertRaises(OSError, late.getpeername)

    def test_asyncio_runs_on_it(self) -> None:
        async def echo() -> bytes:
            loop = asyncio.get_running_loop()
            with netfd.Socket() as server, netfd.Socket() as client:
                server.bind(("127.0.0.1", 0))
                server.listen()
                server.setblocking(False)
                client.setblocking(False)
                connecting = loop.create_task(loop.sock_connect(client, server.getsockname()))
                conn, _ = await loop.sock_accept(server)
                await connecting
                with conn:
                    await loop.sock_sendall(client, b"x" * 1_000_000)
                    await loop.sock_sendall(conn, await loop.sock_recv(conn, 10))
                    return await loop.sock_recv(client, 100)

        self.assertEqual(asyncio.run(asyncio.wait_for(echo(), GUARD)), b"x" * 10)

    def test_ssl_wraps_it(self) -> None:
        # In both orders of import, for ssl's own class derives from socket.socket.
        program = """
import sys
if sys.argv[1] == "ssl first":
    import ssl
import socket, netfd
socket.socket = netfd.Socket
import ssl, threading
made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
made.load_cert_chain(sys.argv[2])
trusts = ssl.create_default_context(cafile=sys.argv[2])
trusts.check_hostname = False
server = socket.create_server(("127.0.0.1", 0))
def serve():
    conn, _ = server.accept()
    with made.wrap_socket(conn, server_side=True) as tls:
        tls.sendall(tls.recv(100))
        try:
            tls.settimeout(0.05)
            tls.recv(1)
        except socket.timeout:
            tls.sendall(b"late")
        tls.settimeout(None)
        tls.unwrap()
thread = threading.Thread(target=serve)
thread.start()
with trusts.wrap_socket(socket.create_connection(server.getsockname())) as tls:
    assert isinstance(tls, netfd.Socket) == (sys.argv[1] != "ssl first")
    tls.sendall(b"hello")
    print(tls.recv(5), tls.recv(4))
    try:
        tls.unwrap()
    except OSError:
        pass
thread.join()
"""
        with tempfile.TemporaryDirectory() as folder:
            pem = os.path.join(folder, "pem")
            try:
                subprocess.run(
                    [
                        "openssl",
                        "req",
                        "-x509",
                        "-newkey",
                        "rsa:2048",
                        "-nodes",
                        "-days",
                        "2",
                        "-subj",
                        "/CN=localhost",
                        "-keyout",
                        pem,
                        "-out",
                        pem + ".crt",
                    ],
                    check=True,
                    capture_output=True,
                )
            except FileNotFoundError:
                self.skipTest("no openssl(1) to make a certificate with")
            with open(pem, "a") as file, open(pem + ".crt") as cert:
                file.write(cert.read())
            for order in ("ssl first", "ssl last"):
                told = subprocess.run(
                    [sys.executable, "-c", program, order, pem],
                    capture_output=True,
                    text=True,
                    timeout=2 * GUARD,
                )
                self.assertEqual((told.stdout, told.stderr), ("b'hello' b'late'\n", ""), order)


class Fork(Case):
    def test_a_child_uses_what_it_inherits(self) -> None:
        ours, theirs = self.connected()

        def child() -> bool:
            theirs.sendall(b"from the child")
            theirs.close()
            return True

        self.assertTrue(in_child(child))
        self.assertEqual(ours.recv(100), b"from the child")
        theirs.send(b"and the parent")
        self.assertEqual(ours.recv(100), b"and the parent")

    def test_a_child_s_close_does_not_wait_for_threads_that_it_has_not(self) -> None:
        ours, theirs = self.pair()
        blocked = Thread(lambda: ours.recv(1))
        until_parked()

        def child() -> bool:
            waits = ours._others(ours._inside, threading.get_ident())
            ours.close()
            return not waits

        self.assertTrue(in_child(child))
        theirs.send(b"x")
        self.assertEqual(blocked.result(), b"x")

    def test_a_child_s_main_thread_is_the_one_that_forked(self) -> None:
        ours, theirs = self.pair()

        def child() -> bool:
            import signal

            signal.signal(signal.SIGALRM, lambda *_: theirs.send(b"x"))
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            return ours.recv(1) == b"x"

        self.assertTrue(Thread(lambda: in_child(child)).result())


if __name__ == "__main__":
    unittest.main()
