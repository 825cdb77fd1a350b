"""The instrument server beside Instamatic's and temscript's: time per call, calls per second, wrong answers, frames.

``python -m benchmarks instrument [--peers PYTHON] [--rounds N]``: PYTHON is the interpreter of an environment with
``pip install instamatic temscript``. Servers and clients are processes of their own; rounds of all take turns, medians
are shown. CPU time of servers is read from /proc (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

CALLS = 2000
NAMES = ("brightness", "spotsize")


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks instrument", description=__doc__)
    parser.add_argument("--peers", type=Path, help="python of an environment with instamatic and temscript")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", choices=["credo", "instamatic"], help=argparse.SUPPRESS)
    parser.add_argument("--client", nargs=3, metavar=("KIND", "PORT", "CALLS"), help=argparse.SUPPRESS)
    parser.add_argument("--bound", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=516, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve == "credo":
        return serve_credo(given.size, given.bound)
    if given.serve == "instamatic":
        return serve_instamatic()
    if given.client:
        kind, port, calls = given.client
        sys.stdout.write(json.dumps(CLIENTS[kind](int(port), int(calls))))
        return 0
    return compare(given.peers, given.rounds)


def compare(peers: Path | None, rounds: int) -> int:
    """Rounds of every server in turn; the medians as tables."""
    kinds = ["credo", "credo-bound", *(["instamatic", "temscript"] if peers else [])]
    found: dict[str, list[dict[str, float]]] = {k: [] for k in kinds}
    frames: dict[int, list[dict[str, float]]] = {516: [], 4096: []}
    for _ in range(rounds):
        for kind in kinds:
            python = Path(sys.executable) if kind.startswith("credo") else peers
            assert python is not None
            found[kind].append(measure_calls(kind, python))
        for size, rows in frames.items():
            rows.append(measure_frames(size))
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, {rounds} rounds")
    print("| server | call p50 (p10) µs | CPU µs/call, server + client | calls/s of 4 clients | wrong of 2 x 500 |")
    print("|---|---|---|---|---|")
    for kind, rows in found.items():
        m = {k: statistics.median(r[k] for r in rows) for k in rows[0]}
        times, cpu = f"{m['p50']:.0f} ({m['p10']:.0f})", f"{m['server']:.0f} + {m['client']:.0f}"
        print(f"| {kind} | {times} | {cpu} | {m['rate']:.0f} | {m['wrong']:.0f} |")
    for size, rows in frames.items():
        m = {k: statistics.median(r[k] for r in rows) for k in rows[0]}
        print(
            f"frame {size}²: p50 {m['p50']:.2f} ms, p10 {m['p10']:.2f} ms, CPU {m['server']:.2f} + {m['client']:.2f} ms"
        )
    return 0


def measure_calls(kind: str, python: Path) -> dict[str, float]:
    """One client alone, then four at once, then two that look for each other's answers."""
    with running(kind, python) as (port, pid):
        name = kind.split("-")[0]
        total = CALLS // 10 if name == "temscript" else CALLS
        clients(python, name, port, 100, 1)
        before = cpu_of(pid)
        (alone,) = clients(python, name, port, total, 1)
        server = (cpu_of(pid) - before) / (total + 2)
        many = clients(python, name, port, total // 2, 4)
        seconds = max(c["end"] for c in many) - min(c["start"] for c in many)
        pair = clients(python, name, port, 500, 2)
    return {
        "p50": alone["p50"],
        "p10": alone["p10"],
        "client": alone["cpu"],
        "server": 1e6 * server,
        "rate": 4 * (total // 2) / seconds,
        "wrong": sum(c["wrong"] for c in pair),
    }


def measure_frames(size: int) -> dict[str, float]:
    with running("credo", Path(sys.executable), size) as (port, pid):
        clients(Path(sys.executable), "frames", port, 3, 1)
        before = cpu_of(pid)
        count = 200 if size < 1000 else 25
        (one,) = clients(Path(sys.executable), "frames", port, count, 1)
        return {k: one[k] for k in ("p50", "p10")} | {
            "client": one["cpu"],
            "server": 1e3 * (cpu_of(pid) - before) / count,
        }


@contextmanager
def running(kind: str, python: Path, size: int = 516):
    """A server process; yields its port and process id."""
    environment = os.environ.copy()
    if kind == "temscript":
        port = free_port()
        command = [str(python), "-m", "temscript.server", "--null", "--host", "127.0.0.1", "-p", str(port)]
        command = [str(python.with_name("temscript-server")), *command[3:]]
    elif kind == "instamatic":
        port = free_port()
        home = Path(tempfile.mkdtemp(prefix="credo-bench-"))
        environment |= {"instamatic": str(home), "CREDO_BENCH_PORT": str(port)}
        command = [str(python), __file__, "--serve", "instamatic"]
    else:
        command = [str(python), "-m", "benchmarks.instrument", "--serve", "credo", "--size", str(size)]
        command += ["--bound"] if kind == "credo-bound" else []
        port = 0
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as p:
        try:
            assert p.stdout is not None
            port = port or int(p.stdout.readline())
            wait_for(port)
            yield port, p.pid
        finally:
            p.terminate()


def clients(python: Path, kind: str, port: int, calls: int, count: int) -> list[dict[str, float]]:
    """``count`` client processes, which begin together when all are ready."""
    where = ["-m", "benchmarks.instrument"] if python == Path(sys.executable) else [__file__]
    command = [str(python), *where, "--client", kind, str(port), str(calls)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(count)]
    for process in processes:
        while process.stdout.readline() != "ready\n":
            pass
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [json.loads(p.communicate(timeout=300)[0]) for p in processes]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def wait_for(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"no server at port {port}")


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serve_credo(size: int, bound: bool) -> int:
    """A replica that answers at once and hands out one and the same frame."""
    import numpy as np

    from credo.instrument.clock import RealClock
    from credo.instrument.protocols import CameraInfo, Frame, Holder, Property
    from credo.instrument.replica import Replica, ReplicaCamera, ReplicaSettings, ReplicaStage
    from credo.instrument.safety import Guard
    from credo.instrument.server import Server

    clock = RealClock()
    axes = {n: Property(n, low=-1e6, high=1e6) for n in "xyzab"}
    lenses = ReplicaSettings({n: Property(n, kind="int") for n in NAMES}, dict.fromkeys(NAMES, 1))
    empty = ReplicaSettings({}, {})
    stage = ReplicaStage(clock, axes, Property("speed"), Holder("h", True))
    microscope = Replica("bench", clock, stage, lenses, empty, empty)
    camera = ReplicaCamera(CameraInfo("bench", (size, size), 55.0, fragile=False), clock, microscope.blanker)
    frame = Frame(np.ones((size, size), "uint16"), 0.0, 0.0, 0.001)
    camera.acquire = lambda exposure, binning=1: frame  # type: ignore[method-assign]
    microscope.cameras = {"bench": camera}
    microscope.thread_bound = bound  # type: ignore[misc]
    server = Server(lambda: Guard(microscope), port=0)
    server.start()
    print(server.address[1], flush=True)
    server.wait()
    return 0


def serve_instamatic() -> int:
    """Instamatic's own server with its simulated microscope, at the port of the environment."""
    import shutil

    import yaml

    package = next(Path(p) / "instamatic" for p in sys.path if (Path(p) / "instamatic").is_dir())
    config = Path(os.environ["instamatic"]) / "config"  # noqa: SIM112 (its name)
    shutil.copytree(package / "config", config)
    path = config / "settings.yaml"
    settings = yaml.safe_load(path.read_text()) | {"tem_server_port": int(os.environ["CREDO_BENCH_PORT"])}
    path.write_text(yaml.safe_dump(settings))
    sys.argv = ["temserver"]
    from instamatic.server.tem_server import main as serve  # type: ignore[import-not-found]

    serve()
    return 0


def timed(ask, calls: int) -> dict[str, float]:
    """``ask(k)`` for k = 0 ... calls - 1; it returns whether the answer was its own."""
    times, wrong = [], 0
    print("ready", flush=True)
    sys.stdin.readline()
    began, cpu = time.time(), time.process_time()
    for k in range(calls):
        t = time.perf_counter()
        mine = ask(k)
        times.append(time.perf_counter() - t)
        wrong += not mine
    cpu = time.process_time() - cpu
    times.sort()
    p50, p10 = times[calls // 2], times[calls // 10]
    return {
        "p50": 1e6 * p50,
        "p10": 1e6 * p10,
        "cpu": 1e6 * cpu / calls,
        "wrong": wrong,
        "start": began,
        "end": time.time(),
    }


def ask_credo(port: int, calls: int) -> dict[str, float]:
    from credo.instrument.client import Client

    name = NAMES[os.getpid() % 2]
    with Client(("127.0.0.1", port)) as client:
        return timed(lambda k: list(client.call("get", names=[name])) == [name], calls)


def ask_frames(port: int, calls: int) -> dict[str, float]:
    from credo.instrument.client import Client

    with Client(("127.0.0.1", port)) as client:
        client.control()
        found = timed(lambda k: client.call("image", exposure=0.001).data[-1, -1] == 1, calls)
    return found | {k: found[k] / 1e3 for k in ("p50", "p10", "cpu")}


def ask_instamatic(port: int, calls: int) -> dict[str, float]:
    """The exchange of its client class: a pickled dictionary, one ``recv``. Each process asks for another thing."""
    import pickle

    name, kind = (("getBrightness", (int, float)), ("getBeamShift", tuple))[os.getpid() % 2]
    connection = socket.create_connection(("127.0.0.1", port))
    request = pickle.dumps({"func_name": name, "args": (), "kwargs": {}})

    def ask(k: int) -> bool:
        connection.send(request)
        _, value = pickle.loads(connection.recv(1024))  # noqa: S301 (the peer's own protocol, on loopback)
        return isinstance(value, kind)

    return timed(ask, calls)


def ask_temscript(port: int, calls: int) -> dict[str, float]:
    from temscript import RemoteMicroscope  # type: ignore[import-not-found]

    microscope = RemoteMicroscope(("127.0.0.1", port))
    if os.getpid() % 2:
        return timed(lambda k: set(microscope.get_stage_position()) >= {"x", "y"}, calls)
    return timed(lambda k: isinstance(microscope.get_voltage(), float), calls)


CLIENTS = {"credo": ask_credo, "frames": ask_frames, "instamatic": ask_instamatic, "temscript": ask_temscript}

if __name__ == "__main__":
    raise SystemExit(main())
