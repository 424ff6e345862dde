# SPDX-License-Identifier: MIT OR Apache-2.0
"""dial() and listen()."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import tempfile
import time
import unittest
from typing import Any

from common import GUARD, Case, Thread, until, until_parked

import netfd


class Dial(Case):
    def test_it_connects_to_what_listens(self) -> None:
        with self.listener() as listener:
            host, port = listener.getsockname()
            for address in (
                f"{host}:{port}",
                f"localhost:{port}",
                (host, port),
                ("localhost", port),
            ):
                with netfd.dial(address, timeout=GUARD) as conn, listener.accept()[0] as theirs:
                    self.assertEqual(conn.getpeername(), (host, port))
                    conn.sendall(b"x")
                    self.assertEqual(theirs.recv(1), b"x")

    def test_the_timeout_becomes_the_socket_s(self) -> None:
        listener = self.listener()
        where = listener.getsockname()
        with netfd.dial(where, timeout=7) as conn:
            self.assertEqual(conn.gettimeout(), 7)
        with netfd.dial(where) as conn:
            self.assertIsNone(conn.gettimeout())
        self.addCleanup(socket.setdefaulttimeout, None)
        socket.setdefaulttimeout(3)
        with netfd.dial(where) as conn:
            self.assertEqual(conn.gettimeout(), 3)

    def test_every_network_is_dialed(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for number, (network, kind) in enumerate(
                (
                    ("tcp4", socket.SOCK_STREAM),
                    ("udp", socket.SOCK_DGRAM),
                    ("unix", socket.SOCK_STREAM),
                    ("unixgram", socket.SOCK_DGRAM),
                    ("unixpacket", socket.SOCK_SEQPACKET),
                )
            ):
                path = os.path.join(folder, str(number))
                at = path if network.startswith("unix") else "127.0.0.1:0"
                with netfd.listen(at, network) as there:
                    self.assertEqual(there.type, kind)
                    with netfd.dial(there.getsockname(), network, timeout=GUARD) as conn:
                        self.assertEqual((conn.type, conn.family), (kind, there.family))
                        conn.send(b"x")
                        if kind == socket.SOCK_DGRAM:
                            self.assertEqual(there.recvfrom(10)[0], b"x")

    def test_who_refuses_is_named(self) -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            where = "127.0.0.1:%s" % nobody.getsockname()[1]
            with self.assertRaises(ConnectionRefusedError) as caught:
                netfd.dial(where, timeout=GUARD)
        self.assertEqual(
            (caught.exception.errno, caught.exception.filename), (errno.ECONNREFUSED, where)
        )
        if sys.version_info >= (3, 11):
            self.assertIn(
                f"dial tcp {where}: connect: connection refused", caught.exception.__notes__
            )

    def test_bad_addresses_and_networks_are_value_errors(self) -> None:
        for address, network in (
            ("no port", "tcp"),
            ("127.0.0.1:99999", "tcp"),
            ("127.0.0.1:80", "carrier pigeon"),
            ("127.0.0.1:8\x000", "tcp"),
        ):
            self.assertRaises(ValueError, netfd.dial, address, network)
        self.assertRaises(ValueError, netfd.dial, "127.0.0.1:1", timeout=-1)
        self.assertRaises(ValueError, netfd.dial, "127.0.0.1:1", timeout=0)

    def test_a_name_that_does_not_exist_is_a_gaierror(self) -> None:
        with self.assertRaises(socket.gaierror):
            netfd.dial("no.such.host.invalid:80", timeout=GUARD)

    def test_a_timeout_and_a_deadline_end_it(self) -> None:
        where = self.silent()
        for call in (
            lambda: netfd.dial(where, "unix", timeout=0.02),
            lambda: netfd.dial(where, "unix", deadline=time.monotonic() + 0.02),
        ):
            self.assertRaises(socket.timeout, call)
            self.assertRaises(socket.timeout, Thread(call).result)

    def test_a_token_ends_it(self) -> None:
        where = self.silent()
        token = netfd.CancelToken()
        blocked = Thread(lambda: netfd.dial(where, "unix", cancel=token))
        until_parked()
        token.fire()
        self.assertRaises(netfd.CanceledError, blocked.result)
        self.assertRaises(netfd.CanceledError, lambda: netfd.dial(where, "unix", cancel=token))

    def test_control_sees_each_socket_and_ends_the_dial_by_raising(self) -> None:
        where = self.listener().getsockname()
        seen: list[Any] = []
        with netfd.dial(where, control=lambda *told: seen.append(told)) as conn:
            self.assertEqual(seen, [(conn.fileno(), "tcp4", "%s:%d" % where)])

        def refuse(*_: object) -> None:
            raise PermissionError("not this one")

        with self.assertRaisesRegex(PermissionError, "not this one"):
            netfd.dial(where, control=refuse)

    def test_options_are_set(self) -> None:
        where = self.listener().getsockname()
        option = lambda conn, level, name: conn.getsockopt(level, name)  # noqa: E731
        with netfd.dial(where) as conn:
            self.assertEqual(option(conn, socket.IPPROTO_TCP, socket.TCP_NODELAY), 1)
            self.assertEqual(option(conn, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 15)
        with netfd.dial(where, nodelay=False, keepalive_idle=0) as conn:
            self.assertEqual(option(conn, socket.IPPROTO_TCP, socket.TCP_NODELAY), 0)
            self.assertEqual(option(conn, socket.SOL_SOCKET, socket.SO_KEEPALIVE), 0)
        with netfd.dial(where, local_address=("127.0.0.2", 0), keepalive_count=3) as conn:
            self.assertEqual(conn.getsockname()[0], "127.0.0.2")
            self.assertEqual(option(conn, socket.IPPROTO_TCP, socket.TCP_KEEPCNT), 3)

    def test_an_abandoned_dial_leaves_nothing_behind(self) -> None:
        class Interrupted(Exception):
            pass

        def interrupt(*_: object) -> None:
            raise Interrupted

        where = self.silent()
        self.addCleanup(signal.signal, signal.SIGALRM, signal.signal(signal.SIGALRM, interrupt))
        before = netfd.stats()["open_fds"]
        with self.assertRaises(Interrupted):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            netfd.dial(where, "unix", timeout=None)
        until(lambda: netfd.stats()["open_fds"] == before, "the end of the dial")


class Listen(Case):
    def test_it_says_where(self) -> None:
        with netfd.listen("localhost:0") as listener:
            self.assertGreater(listener.getsockname()[1], 0)
            self.assertEqual(listener.type, socket.SOCK_STREAM)

    def test_the_file_of_a_unix_listener_goes_with_it(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for unlink, stays in ((None, False), (False, True)):
                path = os.path.join(folder, f"s{stays}")
                with netfd.listen(path, "unix", unlink=unlink):
                    self.assertTrue(os.path.exists(path))
                self.assertEqual(os.path.exists(path), stays)

    def test_it_goes_when_the_listener_is_closed_over_a_blocked_accept(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "s")
            listener = netfd.listen(path, "unix")
            blocked = Thread(listener.accept)
            until_parked()
            listener.close()
            self.assertRaises(netfd.ClosedError, blocked.result)
            self.assertFalse(os.path.exists(path))

    def test_an_abstract_address_is_python_s_and_go_s(self) -> None:
        name = f"netfd-python-names-{os.getpid()}"
        with netfd.listen("@" + name, "unix") as listener:
            self.assertEqual(listener.getsockname(), b"\0" + name.encode())
            netfd.dial("\0" + name, "unix").close()

    def test_who_is_there_already_is_named(self) -> None:
        where = "%s:%d" % self.listener().getsockname()
        with self.assertRaises(OSError) as caught:
            netfd.listen(where)
        self.assertEqual(
            (caught.exception.errno, caught.exception.filename), (errno.EADDRINUSE, where)
        )

    def test_several_share_a_port(self) -> None:
        with netfd.listen("127.0.0.1:0", reuse_port=True) as one:
            netfd.listen("%s:%d" % one.getsockname(), reuse_port=True).close()

    def test_its_timeout_is_accept_s(self) -> None:
        listener = self.listener(timeout=0.02)
        self.assertRaises(socket.timeout, listener.accept)

    def test_the_front_says_what_goes_on(self) -> None:
        ours, _ = self.pair()
        blocked = Thread(lambda: ours.recv(1))
        until_parked()
        with tempfile.TemporaryFile() as file:
            netfd.dump(file.fileno())
            file.seek(0)
            self.assertIn(b"read", file.read())
        ours.close()
        self.assertRaises(netfd.ClosedError, blocked.result)


if __name__ == "__main__":
    unittest.main()
