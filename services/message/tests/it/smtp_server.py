"""Receives mails on the loopback address, by aiosmtpd, and reads them with Python's own parser.

Usage: smtp_server.py <file> [--login <user>:<password>] [<command>:<reply> ...]. Each mail it takes becomes a line of JSON in the file.
The replies, e.g. "RCPT:550 unknown", are given to the first such commands, one each; afterwards it takes everything. With a login it
takes nothing without. The first line on standard output is the address: smtp://127.0.0.1:<port>.
"""

import argparse
import asyncio
import json
from email import message_from_bytes, policy

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword


class Handler:
    def __init__(self, file: str, replies: list[str]) -> None:
        self.file = file
        self.replies = [reply.split(":", 1) for reply in replies]

    def reply(self, command: str) -> str | None:
        if self.replies and self.replies[0][0] == command:
            return self.replies.pop(0)[1]
        return None

    async def handle_RCPT(self, server, session, envelope: Envelope, address: str, options) -> str:
        if refused := self.reply("RCPT"):
            return refused
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope: Envelope) -> str:
        if refused := self.reply("DATA"):
            return refused
        mail = message_from_bytes(envelope.content, policy=policy.SMTPUTF8)
        with open(self.file, "a") as file:
            print(json.dumps(told(envelope, mail)), file=file)
        return "250 OK"


def told(envelope: Envelope, mail) -> dict:
    return {
        "from": envelope.mail_from,
        "to": envelope.rcpt_tos,
        "headers": {name.lower(): str(value) for name, value in mail.items()},
        "body": mail.get_content(),
        "content_type": mail.get_content_type(),
        "charset": mail.get_content_charset(),
        "seconds": int(mail["date"].datetime.timestamp()),
    }


def authenticator(login: str):
    def check(server, session, envelope, mechanism, data) -> AuthResult:
        given = isinstance(data, LoginPassword) and b"%s:%s" % (data.login, data.password)
        # Not handled: the server gives the reply.
        return AuthResult(success=given == login.encode(), handled=False)

    return check


async def serve(arguments: argparse.Namespace) -> None:
    handler = Handler(arguments.file, arguments.replies)
    options = {"enable_SMTPUTF8": True, "hostname": "localhost"}
    if arguments.login:
        options |= {
            "authenticator": authenticator(arguments.login),
            "auth_required": True,
            "auth_require_tls": False,
        }
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, loop=loop, **options), "127.0.0.1", 0)
    print("smtp://127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--login")
    parser.add_argument("replies", nargs="*")
    asyncio.run(serve(parser.parse_args()))
