"""An ESP over HTTP/2 for tests, on the library h2: what it does is written in the local part of the recipient.

    http2_peer.py --journal FILE [--cert PEM --key PEM] [--alpn h2,http/1.1] [--streams N]

It listens on a free port of 127.0.0.1, over TLS with a certificate, prints "listening on PORT", and appends one JSON
line to FILE for every request, before it is answered. A client that agrees on http/1.1 is answered in that. --streams
is SETTINGS_MAX_CONCURRENT_STREAMS. The words, up to a "+" in the local part:

    refused    RST_STREAM with REFUSED_STREAM; the second time the job is accepted
    always-refused  the same every time
    reset      RST_STREAM with INTERNAL_ERROR
    away       GOAWAY with NO_ERROR that leaves the stream out, and nothing more; elsewhere the job is accepted
    away-amiss the same with INTERNAL_ERROR, every time
    cut        the connection is closed, with all that it carries
    hang       no answer
    slowMS     accepted, the answer comes MS milliseconds late
    ends-late  accepted, and the stream ends some milliseconds after the head of the answer
    rejected   400 with a body

Everything else is accepted.
"""

import argparse
import asyncio
import json
import re
import ssl

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

REJECTION = b'{"errors": [{"message": "scripted", "field": "subject", "help": null}]}'
WORDS = re.compile(r"refused|always-refused|reset|away|away-amiss|cut|hang|slow\d+|ends-late|rejected")
LATE_S = 0.05


class Peer:
    """What all connections share."""

    def __init__(self, journal, streams):
        self.journal = journal
        self.streams = streams
        self.connections = 0
        self.seen = set()

    def record(self, connection, version, headers, body, action):
        document = json.loads(body)
        entry = {
            "connection": connection,
            "version": version,
            "path": headers.get(":path"),
            "headers": headers,
            "body": document,
            "job_id": document["custom_args"]["job_id"],
            "action": action,
        }
        self.journal.write(json.dumps(entry) + "\n")
        self.journal.flush()

    def note_reset(self, connection, code):
        self.journal.write(json.dumps({"connection": connection, "action": f"client reset {code}"}) + "\n")
        self.journal.flush()

    def script(self, body):
        """What to do with a request; some words do it once for each job."""
        document = json.loads(body)
        word = document["personalizations"][0]["to"][0]["email"].partition("@")[0].partition("+")[0]
        job = document["custom_args"]["job_id"]
        if word in ("refused", "away"):
            if job in self.seen:
                return "accepted"
            self.seen.add(job)
        return word if WORDS.fullmatch(word) else "accepted"


class Http2(asyncio.Protocol):
    """One connection."""

    def __init__(self, peer):
        self.peer = peer
        peer.connections += 1
        self.number = peer.connections
        self.requests = {}
        self.is_away = False

    def connection_made(self, transport):
        self.transport = transport
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        if self.peer.streams is not None:
            self.h2.local_settings = self.h2.local_settings.__class__(
                client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: self.peer.streams}
            )
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data):
        try:
            events = self.h2.receive_data(data)
        except ProtocolError:
            self.flush()
            self.transport.close()
            return
        for event in events:
            if isinstance(event, RequestReceived):
                self.requests[event.stream_id] = (dict(event.headers), bytearray())
            elif isinstance(event, DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if event.stream_id in self.requests:
                    self.requests[event.stream_id][1].extend(event.data)
            elif isinstance(event, StreamEnded) and not self.is_away:
                self.act(event.stream_id, *self.requests.pop(event.stream_id))
            elif isinstance(event, StreamReset):
                self.peer.note_reset(self.number, int(event.error_code))
            elif isinstance(event, ConnectionTerminated):
                self.transport.close()
        self.flush()

    def act(self, stream, headers, body):
        action = self.peer.script(body)
        self.peer.record(self.number, "2", headers, body, action)
        later = asyncio.get_running_loop().call_later
        slow = re.fullmatch(r"slow(\d+)", action)
        if action in ("refused", "always-refused"):
            self.h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
        elif action == "reset":
            self.h2.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
        elif action in ("away", "away-amiss"):
            code = ErrorCodes.NO_ERROR if action == "away" else ErrorCodes.INTERNAL_ERROR
            self.h2.close_connection(code, last_stream_id=stream - 2 if stream > 1 else 0)
            # The library lets nothing be sent after it: who is not left out is cut off.
            self.is_away = True
            self.flush()
            later(LATE_S, self.transport.close)
        elif action == "cut":
            self.transport.abort()
        elif action == "hang":
            pass
        elif action == "rejected":
            self.answer(stream, 400, REJECTION)
        elif action == "ends-late":
            self.answer(stream, 202, None)
            later(LATE_S, self.end, stream)
        elif slow:
            later(int(slow.group(1)) / 1000, self.answer, stream, 202, b"")
        else:
            self.answer(stream, 202, b"")

    def answer(self, stream, status, body):
        """Answers; without a body at all the stream stays open."""
        try:
            headers = [(":status", str(status)), ("x-message-id", f"peer-{self.number}-{stream}")]
            self.h2.send_headers(stream, headers, end_stream=body == b"")
            if body:
                self.h2.send_data(stream, body, end_stream=True)
        except ProtocolError:
            return
        self.flush()

    def end(self, stream):
        try:
            self.h2.send_data(stream, b"", end_stream=True)
        except ProtocolError:
            return
        self.flush()


class Http1(asyncio.Protocol):
    """The same for a client that speaks HTTP/1.1 only: it accepts everything."""

    def __init__(self, peer):
        self.peer = peer
        peer.connections += 1
        self.number = peer.connections
        self.data = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data
        while True:
            head, end, rest = self.data.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if not end or len(rest) < int(length.group(1)):
                return
            lines = head.decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:])
            headers[":path"] = lines[0].split(" ")[1]
            body, self.data = rest[: int(length.group(1))], rest[int(length.group(1)) :]
            self.peer.record(self.number, "1.1", headers, body, "accepted")
            self.transport.write(b"HTTP/1.1 202 Accepted\r\nx-message-id: peer\r\ncontent-length: 0\r\n\r\n")


class Chooser(asyncio.Protocol):
    """Speaks what the handshake has agreed on; without TLS HTTP/2."""

    def __init__(self, peer):
        self.peer = peer

    def connection_made(self, transport):
        tls = transport.get_extra_info("ssl_object")
        speaks_http2 = tls is None or tls.selected_alpn_protocol() == "h2"
        protocol = Http2(self.peer) if speaks_http2 else Http1(self.peer)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


async def serve(options):
    context = None
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
        context.set_alpn_protocols(options.alpn.split(","))
    with open(options.journal, "a", encoding="utf-8") as journal:
        peer = Peer(journal, options.streams)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Chooser(peer), host="127.0.0.1", port=0, backlog=1024, ssl=context)
        print("listening on", server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--journal", required=True)
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--alpn", default="h2,http/1.1")
    parser.add_argument("--streams", type=int)
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
