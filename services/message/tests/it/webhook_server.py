"""Receives webhooks on the loopback address and checks each with the reference library of Standard Webhooks.

Usage: webhook_server.py <secret> [minutes]. Answers 204 to what the library accepts and 401, with its reason, to anything else. Its
clock is so many minutes ahead. The first line on standard output is the address: http://127.0.0.1:<port>.
"""

import sys
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import webhooks


def receiver(webhook: webhooks.Webhook) -> type[BaseHTTPRequestHandler]:
    class Receiver(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            try:
                webhook.verify(body, dict(self.headers.items()))
            except webhooks.WebhookVerificationError as refused:
                self.answer(401, str(refused).encode())
            else:
                self.answer(204, b"")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            if body:
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Receiver


def set_clock_ahead(ahead: timedelta) -> None:
    class Ahead(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + ahead

    webhooks.datetime = Ahead


if __name__ == "__main__":
    set_clock_ahead(timedelta(minutes=int(sys.argv[2]) if len(sys.argv) > 2 else 0))
    server = ThreadingHTTPServer(("127.0.0.1", 0), receiver(webhooks.Webhook(sys.argv[1])))
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
