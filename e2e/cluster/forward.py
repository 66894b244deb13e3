"""Carry connections of this machine's loopback to the API server inside.

The listening socket is made outside and inherited; the process lives in the cluster's network
namespace and connects there. So one kubeconfig works on both sides, `kubectl port-forward` too.
Run as `python -m e2e.cluster.forward FD PORT`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

PIECE = 256 * 1024  # bytes: a list of 1,000 pods is megabytes


async def serve(listener: socket.socket, port: int) -> None:
    """Forward until killed."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:  # the API server is down: so is this connection
            writer.close()
            return
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    server = await asyncio.start_server(carry, sock=listener)
    await server.serve_forever()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until one side ends; its end is passed on."""
    with contextlib.suppress(ConnectionError, TimeoutError):
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])))
