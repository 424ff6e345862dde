# SPDX-License-Identifier: MIT OR Apache-2.0
"""The package: its README, versions, types, and how it finds the library."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from typing import Any

from common import GUARD, Case

import netfd

HERE = os.path.dirname(os.path.abspath(__file__))
PYTHON = os.path.dirname(HERE)


def text(*path: str) -> str:
    with open(os.path.join(PYTHON, *path), encoding="utf-8") as file:
        return file.read()


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=3 * GUARD,
        env={**os.environ, **environment},
    )


class Package(Case):
    def test_each_program_of_the_readme_runs(self) -> None:
        programs = re.findall(r"^```python\n(.*?)^```", text("README.md"), re.M | re.S)
        self.assertEqual(len(programs), 2)
        told = [run(program) for program in programs]
        self.assertEqual([each.stderr for each in told], ["", ""])
        self.assertEqual(told[0].stdout, "b'hello'\nthe listener was closed, and accept() woke\n")

    def test_each_python_program_of_the_library_s_readme_runs(self) -> None:
        if not os.path.exists(os.path.join(PYTHON, "..", "Cargo.toml")):
            self.skipTest("the library's sources are elsewhere")
        programs = re.findall(r"^```python\n(.*?)^```", text("..", "README.md"), re.M | re.S)
        self.assertGreaterEqual(len(programs), 1)
        for program in programs:
            told = run(program)
            self.assertEqual((told.returncode, told.stderr), (0, ""))

    def test_every_method_that_the_readme_names_is_there(self) -> None:
        names = set(re.findall(r"`(?:sock|token)\.(\w+)\(", text("README.md")))
        self.assertGreaterEqual(len(names), 5)
        for name in names:
            self.assertTrue(hasattr(netfd.Socket, name) or hasattr(netfd.CancelToken, name), name)

    def test_versions_are_one(self) -> None:
        mine = re.search(r'^version = "(.*?)"', text("pyproject.toml"), re.M)
        assert mine is not None
        self.assertEqual(netfd.__version__, mine[1])
        cargo = os.path.join(PYTHON, "..", "Cargo.toml")
        if os.path.exists(cargo):
            with open(cargo, encoding="utf-8") as file:
                theirs = re.search(r'^version = "(.*?)"', file.read(), re.M)
            assert theirs is not None
            self.assertEqual(theirs[1], mine[1])

    def test_what_is_public_has_a_docstring(self) -> None:
        things: list[Any] = [getattr(netfd, name) for name in netfd.__all__]
        things += [vars(netfd.Socket)[name] for name in vars(netfd.Socket) if name[0] != "_"]
        callables = [thing for thing in things if callable(thing)]
        self.assertGreaterEqual(len(callables), 20)
        self.assertEqual([thing for thing in callables if not thing.__doc__], [])

    def test_it_is_typed(self) -> None:
        self.assertTrue(os.path.exists(os.path.join(os.path.dirname(netfd.__file__), "py.typed")))

    def test_a_library_that_is_not_there_is_told_of(self) -> None:
        told = run("import netfd", NETFD_LIBRARY="/no/such/libnetfd.so")
        self.assertIn("ImportError: netfd: no library: /no/such/libnetfd.so", told.stderr)

    def test_a_library_that_is_another_is_told_of(self) -> None:
        told = run("import netfd", NETFD_LIBRARY="libc.so.6")
        self.assertIn("ImportError: netfd: libc.so.6 is too old: it has no netfd_", told.stderr)

    def test_without_one_of_its_own_it_takes_the_system_s_by_its_soname(self) -> None:
        if not os.path.isabs(netfd.library):
            self.skipTest("the library is the system's")
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(
                os.path.dirname(netfd.__file__),
                os.path.join(folder, "netfd"),
                ignore=shutil.ignore_patterns("*.so*", "__pycache__"),
            )
            os.symlink(netfd.library, os.path.join(folder, "libnetfd.so.0"))
            told = run(
                "import netfd; print(netfd.library, netfd.listen('127.0.0.1:0').close())",
                PYTHONPATH=folder,
                LD_LIBRARY_PATH=folder,
                NETFD_LIBRARY="",
            )
        self.assertEqual((told.stdout, told.stderr), ("libnetfd.so.0 None\n", ""))

    def test_it_may_be_imported_in_a_thread_first(self) -> None:
        told = run(
            """
import signal, socket, threading
def first():
    import netfd
thread = threading.Thread(target=first)
thread.start()
thread.join()
import netfd
ours, theirs = (netfd.Socket(fileno=end.detach()) for end in socket.socketpair())
signal.signal(signal.SIGALRM, lambda *_: theirs.send(b"x"))
signal.setitimer(signal.ITIMER_REAL, 0.01)
print(ours.recv(1))
ours.close(); theirs.close()
"""
        )
        self.assertEqual((told.stdout, told.stderr), ("b'x'\n", ""))

    def test_an_interpreter_that_ends_over_open_sockets_is_quiet(self) -> None:
        told = run("import netfd; kept = netfd.listen('127.0.0.1:0')")
        self.assertEqual((told.returncode, told.stderr), (0, ""))


class Tag(Case):
    """How hatch_build.py names the systems that a library runs on."""

    def hook(self) -> Any:
        if importlib.util.find_spec("hatchling") is None:
            self.skipTest("hatchling is not installed here")
        path = os.path.join(PYTHON, "hatch_build.py")
        spec = importlib.util.spec_from_file_location("hatch_build", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def library(self) -> str:
        if not os.path.isabs(netfd.library):
            self.skipTest("the library is the system's")
        return netfd.library

    def test_it_is_the_newest_version_that_objdump_sees(self) -> None:
        path = self.library()
        try:
            told = subprocess.run(
                ["objdump", "-T", path], check=True, capture_output=True, text=True
            ).stdout
        except FileNotFoundError:
            self.skipTest("no objdump")
        newest = max(int(minor) for minor in re.findall(r"GLIBC_2\.(\d+)", told))
        self.assertRegex(self.hook().tag(path), rf"^py3-none-manylinux_2_{newest}_\w+$")

    def test_what_not_every_linux_has_is_refused(self) -> None:
        hook = self.hook()
        elf = hook.Elf(self.library())
        self.assertEqual(elf.soname(), "libnetfd.so.0")
        self.assertTrue(all(hook.EVERYWHERE.fullmatch(name) for name in elf.needed()))
        self.assertIsNone(hook.EVERYWHERE.fullmatch("libssl.so.3"))
        with self.assertRaises(ValueError):
            hook.tag(sys.executable)


if __name__ == "__main__":
    unittest.main()
