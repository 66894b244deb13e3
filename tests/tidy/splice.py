"""A gateway that is none: it splices each connection to the first engine. Known good, known bad.

Started by the benchmarks' tests with a peer's flags, it gives every scenario a subject whose result
is known beforehand.
"""

from __future__ import annotations

import argparse
import asyncio


async def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--worker-urls", nargs="+")
    options = parser.parse_known_args()[0]
    engine_port = int(options.worker_urls[0].rpartition(":")[2])

    async def splice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", engine_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))

    server = await asyncio.start_server(splice, options.host, options.port)
    await server.serve_forever()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until either side ends."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    writer.close()


asyncio.run(main())
