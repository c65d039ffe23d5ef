#!/usr/bin/python3
"""A group member as a process of its own, so that it can be killed: group_member.py BOOTSTRAP GROUP TOPIC [k=v ...]

Prints `assigned 0,1,2` at each assignment and `record PARTITION OFFSET VALUE` for each record, and commits after each.
"""
import signal
import sys

import confluent_kafka as ck


def main():
    bootstrap, group, topic, *settings = sys.argv[1:]
    config = {"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
              "enable.auto.commit": False, "session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "log_level": 2}
    config.update(s.split("=", 1) for s in settings)
    consumer = ck.Consumer(config)
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))

    def tell(*_):
        print("assigned", ",".join(str(tp.partition) for tp in sorted(consumer.assignment())), flush=True)

    def on_assign(c, partitions):
        if config.get("partition.assignment.strategy") == "cooperative-sticky":
            c.incremental_assign(partitions)
        else:
            c.assign(partitions)
        tell()

    def on_revoke(c, partitions):
        if config.get("partition.assignment.strategy") == "cooperative-sticky":
            c.incremental_unassign(partitions)
        else:
            c.unassign()
        print("revoked", ",".join(str(tp.partition) for tp in sorted(partitions)), flush=True)

    consumer.subscribe([topic], on_assign=on_assign, on_revoke=on_revoke)
    while not stopping:
        msg = consumer.poll(0.1)
        if msg is None or msg.error():
            continue
        print("record", msg.partition(), msg.offset(), msg.value().decode(), flush=True)
        consumer.commit(msg, asynchronous=False)
    consumer.close()


if __name__ == "__main__":
    main()
