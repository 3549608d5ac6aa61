"""Watch a running server from Python, change the prompt after two seconds, keep what was seen.

causvid serve tiny &
python examples/python_client.py ws://127.0.0.1:8765 "a red ball on the grass" "it is night" seen.mp4 [TOKEN]
"""

import io
import json
import struct
import sys

import numpy as np
import torch
from PIL import Image
from websockets.sync.client import connect

from causvid.data.video import ClipWriter

HEADER = struct.Struct("<2sBBBBHIII")  # "CV", version, codec, flags, 0, branch, sequence, frame, milliseconds


def watch(url: str, prompt: str, then: str, out: str, *token: str, seconds: float = 6.0) -> None:
    words = ["causvid.v1", *(f"token.{word}" for word in token)]
    with connect(f"{url}/v1/stream", subprotocols=words, proxy=None) as server:
        server.send('{"type": "hello", "codecs": ["jpeg"], "credits": 24}')
        fps = json.loads(server.recv())["fps"]
        server.send(json.dumps({"type": "start", "prompt": prompt, "seed": 7, "pace": "fast"}))
        with ClipWriter(out, fps=fps, metadata={"prompt": prompt, "then": then}) as clip:
            while clip.frames < seconds * fps:
                if isinstance(message := server.recv(), bytes):
                    picture = np.array(Image.open(io.BytesIO(message[HEADER.size :])))
                    clip.write(torch.from_numpy(picture[None]))
                    server.send(json.dumps({"type": "ack", "frame": HEADER.unpack_from(message)[6]}))
                    if clip.frames == 2 * fps:
                        server.send(json.dumps({"type": "prompt", "prompt": then}))
                elif (said := json.loads(message))["type"] == "error":
                    raise SystemExit(said["message"])


watch(*sys.argv[1:])
