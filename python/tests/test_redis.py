# SPDX-License-Identifier: MIT OR Apache-2.0
"""redis-py's client over netfd.Socket, with a server of its own."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import tempfile
import threading
import unittest
from typing import Any

from common import GUARD, Case, in_socket_s_place, until

import netfd

SERVER = shutil.which("redis-server")


@unittest.skipUnless(SERVER, "redis-server is not installed")
@unittest.skipUnless(importlib.util.find_spec("redis"), "redis-py is not installed")
class Redis(Case):
    def setUp(self) -> None:
        super().setUp()
        import redis

        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = folder.name + "/redis.sock"
        with netfd.listen("127.0.0.1:0") as free:
            self.port = free.getsockname()[1]
        server = subprocess.Popen(
            [str(SERVER), "--port", str(self.port), "--unixsocket", self.path, "--save", "",
             "--dir", folder.name],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        place = in_socket_s_place()
        place.__enter__()
        self.addCleanup(place.__exit__, None, None, None)

        def answers() -> bool:
            try:
                with redis.Redis(port=self.port) as client:
                    return bool(client.ping())
            except redis.ConnectionError:
                return False

        until(answers, "a redis server")

    def client(self, **how: Any) -> Any:
        import redis

        client = redis.Redis(**{"port": self.port, "socket_timeout": GUARD, **how})
        self.addCleanup(client.close)
        return client

    def test_its_connections_are_ours(self) -> None:
        client = self.client()
        connection = client.connection_pool.get_connection()
        connection.connect()
        self.assertIsInstance(connection._sock, netfd.Socket)
        client.connection_pool.release(connection)

    def test_values_large_and_small_come_back(self) -> None:
        for how in ({}, {"unix_socket_path": self.path}, {"socket_timeout": None}):
            client = self.client(**how)
            for value in (b"", b"x", bytes(range(256)) * 20_000):
                client.set("key", value)
                self.assertEqual(client.get("key"), value)

    def test_a_pipeline_of_ten_thousand(self) -> None:
        client = self.client()
        pipeline = client.pipeline(transaction=True)
        for number in range(10_000):
            pipeline.incrby("sum", number)
        self.assertEqual(pipeline.execute()[-1], sum(range(10_000)))

    def test_messages_reach_a_subscriber_in_a_thread(self) -> None:
        client = self.client()
        subscriber = client.pubsub()
        subscriber.subscribe("news")
        self.assertEqual(subscriber.get_message(timeout=GUARD)["type"], "subscribe")
        got: list[bytes] = []

        def listen() -> None:
            for message in subscriber.listen():
                got.append(message["data"])
                if message["data"] == b"end":
                    return

        thread = threading.Thread(target=listen)
        thread.start()
        for number in range(100):
            client.publish("news", str(number))
        client.publish("news", "end")
        thread.join(GUARD)
        self.assertEqual(got, [str(number).encode() for number in range(100)] + [b"end"])
        subscriber.close()

    def test_a_blocking_command_times_out(self) -> None:
        import redis

        client = self.client(socket_timeout=0.1, retry=None)
        with self.assertRaises(redis.TimeoutError):
            client.blpop("never", timeout=5)

    def test_threads_share_a_pool(self) -> None:
        client = self.client()

        def work() -> None:
            for _ in range(200):
                client.incr("count")

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(client.get("count"), b"1600")


if __name__ == "__main__":
    unittest.main()
