"""Runs localstripe, a payment provider that keeps state, on the loopback address only.

Its own command listens on every address. Usage: stripe_server.py [port]; port 0, the default, takes a free one. The
first line on standard output is the address: http://127.0.0.1:<port>.
"""

import asyncio
import sys

from aiohttp import web
from localstripe.server import app, store


# It would write its state to one fixed file after every change; here every server has its own, in memory.
store.dump_to_disk = lambda: None


async def serve(port: int) -> None:
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    host, bound = runner.addresses[0][:2]
    print(f"http://{host}:{bound}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
