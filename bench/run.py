#!/usr/bin/python3
"""make bench, make bench-peers: runs the load programs and prints what came out.

  run.py --build DIR             Sluice alone, with the machine's limits in the same run
  run.py --build DIR --peers     Sluice (fsync on) and Kafka in turn; medians and ratios; docs/performance.md and .svg
  options: --rounds N (5), --only NAME[,NAME], --scale F (1: the full number of records)

Only the load program is pinned (to the last core): a server that waits for disk must not be.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import report
from servers import ROOT, Kafka, Sluice

LAST_CORE = str(max(os.sched_getaffinity(0)))


def program(build, name, *args):
    """Runs one load program, returns its JSON line as a dictionary (empty when it prints none)."""
    path = os.path.join(build, "bench", name)
    if not os.path.exists(path):
        raise SystemExit(f"{path} is missing: install librdkafka-dev (make deps) and build again")
    run = subprocess.run(["taskset", "-c", LAST_CORE, path, *map(str, args)], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{name} {' '.join(map(str, args))}\nfailed: {run.stderr}{run.stdout}")
    lines = run.stdout.strip().splitlines()
    return json.loads(lines[-1]) if lines else {}


class Bench:
    def __init__(self, build, scale):
        self.build, self.scale, self.topics = build, scale, 0

    def rdkafka(self, server, mode, topic, **options):
        args = [mode, "--bootstrap", server.bootstrap, "--server-pid", server.pid, "--topic", topic]
        for key, value in options.items():
            args += ["--" + key.replace("_", "-"), value]
        return program(self.build, "load_rdkafka", *args)

    def topic(self, server, partitions):
        self.topics += 1
        name = f"bench-{os.getpid()}-{self.topics}"
        self.rdkafka(server, "create", name, partitions=partitions)
        return name

    def records(self, n):
        return max(1000, int(n * self.scale))

    # Each load gives {figure: value}; the keys of `LOADS` below choose what is shown.

    def produce(self, server, partitions=1, size=1024, acks=-1, records=1_000_000):
        topic = self.topic(server, partitions)
        return self.rdkafka(server, "produce", topic, partitions=partitions, size=size, acks=acks,
                            records=self.records(records))

    def produce_warm(self, server, partitions):
        """The second load on the same topic: files exist and the client knows every partition."""
        topic = self.topic(server, partitions)
        for _ in range(2):
            figures = self.rdkafka(server, "produce", topic, partitions=partitions, records=self.records(500_000))
        return figures

    def consume(self, server, partitions=1):
        topic, n = self.topic(server, partitions), self.records(1_000_000)
        self.rdkafka(server, "produce", topic, partitions=partitions, records=n)
        return self.rdkafka(server, "consume", topic, partitions=partitions, records=n)

    def latency(self, server, rate=10_000):
        topic = self.topic(server, 1)
        return self.rdkafka(server, "produce", topic, rate=rate, linger_ms=0, seconds=max(2, int(10 * self.scale)))

    def e2e(self, server):
        topic = self.topic(server, 1)
        return self.rdkafka(server, "e2e", topic, rate=5000, linger_ms=0, seconds=max(2, int(10 * self.scale)))

    def raw(self, server):
        topic = self.topic(server, 8)
        return program(self.build, "load_raw", "produce", "--bootstrap", server.bootstrap, "--server-pid", server.pid,
                       "--topic", topic, "--batch-bytes", 65536, "--connections", 8, "--inflight", 8,
                       "--partitions", 8, "--seconds", max(2, int(5 * self.scale)))


    def grpc(self, server, mode, **options):
        self.topics += 1
        args = [mode, "--bootstrap", server.grpc, "--server-pid", server.pid,
                "--topic", f"bench-{os.getpid()}-{self.topics}"]
        for key, value in options.items():
            args += ["--" + key.replace("_", "-"), value]
        return program(self.build, "load_grpc", *args)

    def publish(self, server, callers, rate=0):
        return self.grpc(server, "publish", inflight=callers, connections=min(callers, 4), rate=rate,
                         seconds=max(2, int(10 * self.scale)))

    def subscribe(self, server, subscriptions):
        return self.grpc(server, "subscribe", inflight=subscriptions,
                         records=self.records(1_000_000 // subscriptions))


THROUGHPUT = ["records_per_s", "mb_per_s", "server_cpu_s_per_gb", "server_rss_peak_kb"]
LATENCY = ["p50_ms", "p99_ms", "p999_ms", "server_cores"]
CALLS = ["records_per_s", *LATENCY]
DELIVERIES = ["records_per_s", "mb_per_s", "server_cores", "server_rss_peak_kb"]
LOADS = {  # name: (title, call, figures)
    "produce-all": ("produce 1 KB, acks=all", lambda b, s: b.produce(s), THROUGHPUT),
    "produce-1": ("produce 1 KB, acks=1", lambda b, s: b.produce(s, acks=1), THROUGHPUT),
    "produce-100": ("produce 100 B, acks=all", lambda b, s: b.produce(s, size=100, records=5_000_000), THROUGHPUT),
    "produce-1000p": ("produce 1 KB, 1,000 partitions, new topic", lambda b, s: b.produce(s, partitions=1000), THROUGHPUT),
    "produce-1000w": ("produce 1 KB, 1,000 partitions, warm", lambda b, s: b.produce_warm(s, 1000), THROUGHPUT),
    "consume": ("consume 1 KB", lambda b, s: b.consume(s), THROUGHPUT),
    "consume-1000p": ("consume 1 KB, 1,000 partitions", lambda b, s: b.consume(s, 1000), THROUGHPUT),
    "latency": ("10,000/s of 1 KB, acks=all, linger 0", lambda b, s: b.latency(s), LATENCY),
    "e2e": ("end to end, 5,000/s of 1 KB, linger 0", lambda b, s: b.e2e(s), LATENCY),
    "publish-1": ("gRPC Publish 1 KB, synced, 1 caller", lambda b, s: b.publish(s, 1), CALLS),
    "publish-16": ("gRPC Publish 1 KB, synced, 16 callers", lambda b, s: b.publish(s, 16), CALLS),
    "publish-256": ("gRPC Publish 1 KB, synced, 256 callers", lambda b, s: b.publish(s, 256), CALLS),
    "publish-5000": ("gRPC Publish 1 KB, synced, 5,000/s", lambda b, s: b.publish(s, 64, 5000), CALLS),
    "subscribe-1": ("gRPC Subscribe 1 KB, 1 subscription", lambda b, s: b.subscribe(s, 1), DELIVERIES),
    "subscribe-100": ("gRPC Subscribe 1 KB, 100 subscriptions", lambda b, s: b.subscribe(s, 100), DELIVERIES),
    "subscribe-500": ("gRPC Subscribe 1 KB, 500 subscriptions", lambda b, s: b.subscribe(s, 500), DELIVERIES),
    "raw": ("raw 64 KiB batches, acks=all, 8 connections", lambda b, s: b.raw(s), THROUGHPUT + ["p99_ms"]),
}


GRPC = [load for load in LOADS if load.startswith(("publish-", "subscribe-"))]  # of Sluice alone: Kafka has no such door


def limits(build):
    return program(build, "limits", build)


def median_rows(runs):
    """{load: [figures of each round]} -> {load: {figure: (median, min, max)}}"""
    return {load: {key: (statistics.median(v), min(v), max(v))
                   for key in LOADS[load][2] for v in [[r[key] for r in rounds]]}
            for load, rounds in runs.items()}


def measure(servers, bench, loads, rounds):
    """Each load in turn on every server, `rounds` times; the order alternates."""
    runs = {server.name: {load: [] for load in loads} for server in servers}
    total, at, began = rounds * len(loads) * len(servers), 0, time.monotonic()
    for load in loads:
        for turn in range(rounds):
            for server in servers if turn % 2 == 0 else servers[::-1]:
                runs[server.name][load].append(LOADS[load][1](bench, server))
                at += 1
                if sys.stderr.isatty():
                    print(f"\r{at}/{total} {load} {time.monotonic() - began:.0f} s   ", end="", file=sys.stderr)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return {name: median_rows(of) for name, of in runs.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--only", default=",".join(LOADS))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--no-write", action="store_true", help="print only, leave docs/ as it is")
    o = parser.parse_args()
    loads = o.only.split(",")
    if o.peers:
        loads = [load for load in loads if load not in GRPC]
    unknown = [load for load in loads if load not in LOADS]
    if unknown:
        parser.error(f"no load is called {', '.join(unknown)}; there are {', '.join(LOADS)}")
    servers = []
    try:
        for server in [Sluice(o.build)] + ([Kafka()] if o.peers else []):
            servers.append(server.start())
        machine = limits(o.build)
        result = measure(servers, Bench(o.build, o.scale), loads, o.rounds or (5 if o.peers else 1))
    finally:
        for server in servers:
            server.stop()
    titles = {load: LOADS[load][0] for load in loads}
    text = report.markdown(machine, result, titles, {s.name: s.ready_s for s in servers})
    print(text)
    if o.peers and not o.no_write:
        report.write(ROOT / "docs", text, result, titles, " ".join(["bench/run.py", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
