"""What the parts of the measurement have in common."""
import socket
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SHARED = HERE / "shared"
OUT = ROOT / "target" / "bench"
LIBRARY = "libnetfd.so"
SONAME = "libnetfd.so.0"


class CannotMeasure(Exception):
    pass


def say(*words):
    print(*words, flush=True)


def run(*command, **options):
    """Runs a command to its success, and returns what it printed."""
    command = [str(word) for word in command]
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        raise CannotMeasure(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def scheduling():
    """Real-time priority shields from neighbours, and wants a privilege."""
    allowed = subprocess.run(["chrt", "-f", "1", "true"], capture_output=True).returncode == 0
    return "fifo" if allowed else "none"


def ratio(one, others):
    nearest = min(others, key=lambda other: abs(other["t"] - one["t"]))
    return one["cpu_us_per_req"] / nearest["cpu_us_per_req"]


def counted(summary):
    """The counts of `strace -c`, by call."""
    counts = {}
    for line in summary.splitlines():
        words = line.split()
        if len(words) >= 5 and words[3].isdigit() and words[-1] != "total":
            counts[words[-1]] = int(words[3])
    if not counts:
        raise CannotMeasure(f"strace counted nothing:\n{summary}")
    return counts


def difference(more, less, by):
    """What `by` times of something add, for each time."""
    names = sorted(set(more) | set(less))
    each = {name: (more.get(name, 0) - less.get(name, 0)) / by for name in names}
    return {name: value for name, value in each.items() if value}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(port):
    end = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise CannotMeasure("the server does not listen") from None
            time.sleep(0.01)
