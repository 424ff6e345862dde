"""gdb: the backtraces of parked fibers.

    (gdb) source tools/netfd-gdb.py
    (gdb) netfd-fibers              all of them
    (gdb) netfd-fibers 2            those of worker 2
    (gdb) netfd-fibers 2 7          fiber 7 of worker 2, as netfd_dump() names it

For a live process on x86-64. Neither the library nor the program needs debug
information, though the names are better with it. A fiber that runs is a thread's
top frames: `thread apply all backtrace` shows it.
"""

import struct

import gdb

SECTION = ".netfd_fibers"
NAME = b"netfd 1\0"
LAYOUT = "size state parked fiber fiber_size lowest highest".split()


def words(address, count):
    """So many words of the process's memory."""
    memory = gdb.selected_inferior().read_memory(address, 8 * count)
    return struct.unpack("<%dQ" % count, bytes(memory))


def table():
    """Where the library's table is: see src/fiber/debug.rs."""
    for line in gdb.execute("info files", to_string=True).splitlines():
        part = line.split()
        if len(part) >= 5 and part[3] == "is" and part[4] == SECTION:
            address = int(part[0], 16)
            name = gdb.selected_inferior().read_memory(address, len(NAME))
            if bytes(name) == NAME:
                return address + len(NAME)
    raise gdb.GdbError("no netfd in this process, or another version of it")


def parked():
    """Of each parked fiber: worker, number, lowest, highest, saved."""
    address = table()
    (workers,) = words(address, 1)
    layout = dict(zip(LAYOUT, words(address + 8, len(LAYOUT))))
    rows = words(address + 8 + 8 * len(LAYOUT), 2 * workers)
    memory = gdb.selected_inferior().read_memory
    for worker, (seats, count) in enumerate(zip(rows[::2], rows[1::2]), 1):
        for number in range(count):
            seat = seats + number * layout["size"]
            if bytes(memory(seat + layout["state"], 1)) != bytes([layout["parked"]]):
                continue
            (lowest,) = words(seat + layout["lowest"], 1)
            (highest,) = words(seat + layout["highest"], 1)
            within = [
                word
                for word in words(seat + layout["fiber"], layout["fiber_size"] // 8)
                if lowest <= word < highest
            ]
            if within:
                yield worker, number, lowest, highest, min(within)


class Standing:
    """While it lasts, the selected thread's registers are those of a fiber."""

    NAMES = ("rip", "rbx", "rbp", "rsp")

    def __init__(self, saved):
        # The switch has pushed rbp, rbx, and where it goes on.
        self.values = words(saved, 3) + (saved + 24,)

    def __enter__(self):
        gdb.newest_frame().select()
        frame = gdb.selected_frame()
        self.before = [int(frame.read_register(name)) for name in self.NAMES]
        self.write(self.values)

    def __exit__(self, *why):
        self.write(self.before)

    def write(self, values):
        for name, value in zip(self.NAMES, values):
            gdb.newest_frame().select()
            unsigned = value & (1 << 64) - 1
            gdb.execute("set var $%s = %#x" % (name, unsigned), to_string=True)


def backtrace(lowest, highest):
    """The frames on the fiber's own stack: the worker's are behind them."""
    frame, count = gdb.newest_frame(), 0
    while frame is not None and frame.is_valid():
        if not lowest <= int(frame.read_register("rsp")) <= highest:
            break
        count += 1
        try:
            frame = frame.older()
        except gdb.error:
            break
    return gdb.execute("backtrace %d" % count, to_string=True)


class Fibers(gdb.Command):
    """netfd-fibers [WORKER [NUMBER]]: backtraces of parked fibers."""

    def __init__(self):
        super().__init__("netfd-fibers", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        wanted = [int(word) for word in gdb.string_to_argv(argument)]
        if gdb.selected_thread() is None:
            raise gdb.GdbError("no process to look at")
        if gdb.selected_frame().architecture().name() != "i386:x86-64":
            raise gdb.GdbError("netfd-fibers knows x86-64 only")
        shown = 0
        for worker, number, lowest, highest, saved in parked():
            if wanted != [worker, number][: len(wanted)]:
                continue
            print("fiber %d of worker %d" % (number, worker))
            with Standing(saved):
                print(backtrace(lowest, highest))
            shown += 1
        if shown == 0:
            print("no parked fibers")


Fibers()
