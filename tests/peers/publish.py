"""Publishes jobs with pika: a plain client that shares no code with Sluice.

    publish.py AMQP_URL [FILE]

Each line of FILE (or of standard input) is one message for the exchange `sluice.jobs`:

    {"routing_key": "default.bulk.gmail.com", "body": {"v": 1, "id": "..."}, "properties": {"priority": 3}}

Instead of `body` (JSON) a line may have `raw` (text) or `raw_b64` (any bytes). Published as the contract says: with
confirms, mandatory, delivery_mode 2, content_type application/json, message_id from the body's id; `properties`
overrules. Prints {"confirmed": .., "returned": .., "nacked": .., "seconds": ..}; the exit code tells only whether every
line was published, not what the broker answered.
"""

import base64
import json
import sys
import time

import pika

EXCHANGE = "sluice.jobs"


def content(line):
    """The bytes of a message, and the id in them."""
    if "raw_b64" in line:
        return base64.b64decode(line["raw_b64"]), None
    if "raw" in line:
        return line["raw"].encode(), None
    body = line["body"]
    identity = body.get("id") if isinstance(body, dict) else None
    return json.dumps(body).encode(), identity if isinstance(identity, str) else None


def publish(channel, line):
    """Publishes one line; the word for what the broker answered."""
    body, identity = content(line)
    properties = {"delivery_mode": 2, "content_type": "application/json", "message_id": identity}
    properties.update(line.get("properties", {}))
    try:
        channel.basic_publish(EXCHANGE, line["routing_key"], body, pika.BasicProperties(**properties), mandatory=True)
    except pika.exceptions.UnroutableError:
        return "returned"
    except pika.exceptions.NackError:
        return "nacked"
    return "confirmed"


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    source = open(sys.argv[2], encoding="utf-8") if len(sys.argv) == 3 else sys.stdin
    counts = {"confirmed": 0, "returned": 0, "nacked": 0}
    begin = time.monotonic()
    connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
    channel = connection.channel()
    channel.confirm_delivery()
    with source:
        for text in source:
            if text.strip():
                counts[publish(channel, json.loads(text))] += 1
    connection.close()
    print(json.dumps({**counts, "seconds": round(time.monotonic() - begin, 3)}))


if __name__ == "__main__":
    main()
