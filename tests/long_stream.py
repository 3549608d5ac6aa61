"""A long stream and what it holds on to, in a process of its own where types are not checked: that is slow.

python tests/long_stream.py    prints the tensors alive and their bytes after 50 and after 1,000 chunks
"""

import gc
import json
from dataclasses import replace

import torch
from random_model import random_student

from causvid.generate.session import StreamingSession


def tensors_alive():
    gc.collect()
    alive = [x for x in gc.get_objects() if issubclass(type(x), torch.Tensor)]
    return [len(alive), sum(x.untyped_storage().nbytes() for x in alive)]


def main():
    small = replace(random_student().spec.transformer, layers=1)
    bundle = random_student(transformer=small, sigmas=(1.0,))
    session = StreamingSession(bundle, "a red ball", size=(16, 16))
    seen = []
    for count in (50, 950):
        for _ in range(count):
            session.next_chunk()
        seen.append(tensors_alive())
    print(json.dumps({"frames": session.frames, "seen": seen}))


if __name__ == "__main__":
    main()
