"""A mail server for tests, on aiosmtpd: what it does is written in the local part of the recipient.

    smtp_peer.py --journal FILE [--tls starttls|implicit --cert PEM --key PEM] [--user NAME --password WORD]

It listens on a free port of 127.0.0.1, prints "listening on PORT", and appends one JSON line to FILE for every
recipient it answered, before the answer is sent. The words, up to a "+" in the local part:

    r421        421 4.7.28 at RCPT, then the connection is closed
    r450        450 4.2.1 at RCPT
    r550        550 5.1.1 at RCPT
    dropearly   the connection is dropped at RCPT
    data550     550 5.7.1 after the final dot
    dropdata    accepted, and the connection dropped instead of the reply
    slowMS      accepted, the reply to the final dot comes MS milliseconds late

Everything else is accepted.
"""

import argparse
import asyncio
import email
import json
import re
import ssl
import time

from aiosmtpd.smtp import SMTP, AuthResult

AT_RCPT = {
    "r421": "421 4.7.28 Our system has detected an unusual rate of mail, try again later",
    "r450": "450 4.2.1 The recipient is receiving mail at a rate that prevents delivery",
    "r550": "550 5.1.1 The account does not exist",
}
AFTER_DATA = {"data550": "550 5.7.1 Message refused by content policy"}


def word(recipient):
    """The script of a recipient."""
    return recipient.partition("@")[0].partition("+")[0].lower()


class Peer:
    """The hooks aiosmtpd calls."""

    def __init__(self, journal):
        self.journal = journal

    def record(self, server, envelope, recipient, outcome, content=b""):
        head = content.partition(b"\r\n\r\n")[0].decode("utf-8", "replace")
        headers = email.message_from_string(head)
        entry = {
            "time": time.monotonic(),
            "job_id": headers.get("X-Sluice-Job-Id"),
            "message_id": headers.get("Message-ID"),
            "sender": envelope.mail_from,
            "recipient": recipient,
            "outcome": outcome,
            "headers": head,
            "tls": server.transport.get_extra_info("ssl_object") is not None,
            "authenticated": server.session.authenticated is True,
        }
        self.journal.write(json.dumps(entry) + "\n")
        self.journal.flush()

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        script = word(address)
        if script == "dropearly":
            self.record(server, envelope, address, "dropped")
            server.transport.abort()
            return "421 4.3.2 Never seen"
        refusal = AT_RCPT.get(script)
        if refusal is None:
            envelope.rcpt_tos.append(address)
            return "250 2.1.5 Ok"
        self.record(server, envelope, address, refusal)
        if refusal.startswith("421"):
            # RFC 5321 section 3.8: after 421 the server closes. The reply is written before the loop comes to this.
            asyncio.get_running_loop().call_soon(server.transport.close)
        return refusal

    async def handle_DATA(self, server, session, envelope):
        script = word(envelope.rcpt_tos[0])
        outcome = AFTER_DATA.get(script, "accepted")
        if script == "dropdata":
            outcome = "accepted then dropped"
        for recipient in envelope.rcpt_tos:
            self.record(server, envelope, recipient, outcome, envelope.content)
        if script == "dropdata":
            server.transport.abort()
        slow = re.fullmatch(r"slow(\d+)", script)
        if slow:
            await asyncio.sleep(int(slow.group(1)) / 1000)
        return AFTER_DATA.get(script, "250 2.0.0 Ok: queued")


def authenticator(user, password):
    """Knows one user."""

    def check(server, session, envelope, mechanism, data):
        known = data.login == user.encode() and data.password == password.encode()
        return AuthResult(success=known, handled=False, auth_data=data)

    return check


async def serve(options):
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert, options.key)
    settings = {"hostname": "localhost", "ident": "stand-in", "enable_SMTPUTF8": True}
    if options.tls == "starttls":
        settings.update(tls_context=context, require_starttls=True)
    if options.user:
        settings.update(
            authenticator=authenticator(options.user, options.password), auth_required=True, auth_require_tls=False
        )
    with open(options.journal, "a", encoding="utf-8") as journal:
        peer = Peer(journal)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: SMTP(peer, loop=loop, **settings),
            host="127.0.0.1",
            port=0,
            backlog=1024,
            ssl=context if options.tls == "implicit" else None,
        )
        print("listening on", server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--journal", required=True)
    parser.add_argument("--tls", choices=["starttls", "implicit"])
    parser.add_argument("--cert")
    parser.add_argument("--key")
    parser.add_argument("--user")
    parser.add_argument("--password")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
