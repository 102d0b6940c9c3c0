# SPDX-License-Identifier: GPL-2.0-only
"""What probe_test.c asks: a server whose behaviour the path says. Prints its port, and ends with its stdin."""
import asyncio
import json
import os
import socket
import struct
import sys
import time

asked = {}  # by path, how often
posted = {}  # and with which bodies
came = {}  # and when, in milliseconds


async def read_request(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers.get("Content-Length", 0)))
    method, path, _ = head[0].split(" ")
    return method, path, headers, body


def send(writer, status, body=b"", extra=()):
    lines = [f"HTTP/1.1 {status} Because", f"Content-Length: {len(body)}", *extra]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


async def trickle(writer):
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(.05)


def reset(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def answer(reader, writer):
    method, path, headers, body = await read_request(reader)
    asked[path] = asked.get(path, 0) + 1
    posted.setdefault(path, []).append(body.decode())
    came.setdefault(path, []).append(time.monotonic_ns() // 1000000)
    words = path.strip("/").split("/")
    if words[0] == "ok":
        send(writer, 200, b"all is well\n")
    elif words[0] == "status":
        send(writer, int(words[1]))
    elif words[0] == "big":
        send(writer, 200, b"#" * int(words[1]) + b"end")
    elif words[0] == "never":
        await asyncio.sleep(3600)
    elif words[0] == "slow":
        await trickle(writer)
    elif words[0] == "reset":
        reset(writer)
        return False
    elif words[0] == "close":
        return False
    elif words[0] == "redirect":
        send(writer, 302, extra=["Location: /ok"])
    elif words[0] == "echo":
        said = {"method": method, "path": path, "body": body.decode(), "host": headers.get("Host"),
                "type": headers.get("Content-Type"), "port": writer.get_extra_info("peername")[1]}
        send(writer, 200, json.dumps(said).encode())
    elif words[0] == "later":  # /later/N/KEY: 503 to the first N
        send(writer, 503 if asked[path] <= int(words[1]) else 200)
    elif words[0] == "asked":  # /asked/PATH: how often
        send(writer, 200, str(asked.get("/" + "/".join(words[1:]), 0)).encode())
    elif words[0] == "posted":  # /posted/PATH
        send(writer, 200, json.dumps(posted.get("/" + "/".join(words[1:]), [])).encode())
    elif words[0] == "came":  # /came/PATH
        send(writer, 200, json.dumps(came.get("/" + "/".join(words[1:]), [])).encode())
    elif words[0] == "set":  # POST /set/NAME: what /get/...=NAME answers from now on
        send(writer, 200)
    elif words[0] == "get":
        send(writer, 200, posted["/set/" + path.rsplit("=", 1)[1]][-1].encode())
    elif words[0] == "pause":  # /pause/MILLISECONDS
        await asyncio.sleep(int(words[1]) / 1000)
        send(writer, 200)
    return True


async def serve(reader, writer):
    try:
        while await answer(reader, writer):
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)  # whatever is still being served


asyncio.run(main())
