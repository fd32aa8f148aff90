"""A policy server for pirig and every openpi client, of websockets and msgpack alone. Its policy holds still."""

import asyncio

import msgpack
import numpy as np
import websockets.asyncio.server as ws


def infer(obs):  # your policy goes here
    assert obs["observation/image"].shape == (224, 224, 3), obs["prompt"]
    assert obs["observation/state"].shape == (8,), obs["prompt"]
    return {"actions": np.array([[0, 0, 0, 0, 0, 0, -1.0]] * 10)}  # ten actions: move, turn, gripper (-1: open)


def to_wire(array):
    return {b"__ndarray__": True, b"data": array.tobytes(), b"dtype": array.dtype.str, b"shape": array.shape}


def from_wire(fields):
    if b"__ndarray__" not in fields:
        return fields
    return np.frombuffer(fields[b"data"], fields[b"dtype"]).reshape(fields[b"shape"])


async def talk(socket):
    await socket.send(msgpack.packb({"name": "still"}))  # metadata, once
    async for frame in socket:
        answer = await asyncio.to_thread(infer, msgpack.unpackb(frame, object_hook=from_wire))  # pings go on meanwhile
        await socket.send(msgpack.packb(answer, default=to_wire))


async def main():
    async with ws.serve(talk, "127.0.0.1", 8765, compression=None, max_size=None) as server:
        await server.serve_forever()


asyncio.run(main())
