"""Several processes of a test's own, as torchrun would start them, forked from one that has imported all."""

import multiprocessing
import os
import socket
import traceback

PRELOADED = ["rank_work"]
PATIENCE = 600
"""Seconds."""


def on_ranks(size, work, *args, may_die=False):
    """work(ranks, *args) in each of `size` processes; what it returned, by rank.

    With may_die the others are killed when one has gone, as torchrun does; None is what nobody returned.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pipes = [context.Pipe(duplex=False) for _ in range(size)]
    processes = [
        context.Process(target=_one, args=(rank, size, port, pipes[rank][1], work, args), daemon=True)
        for rank in range(size)
    ]
    for process, (_, mine) in zip(processes, pipes, strict=True):
        process.start()
        mine.close()
    results = [None] * size
    for rank, (end, _) in enumerate(pipes):
        try:
            failed, results[rank] = end.recv() if end.poll(PATIENCE) else (True, "nothing was heard of it")
        except EOFError:
            failed, results[rank] = True, None
        if failed:
            for process in processes:
                process.kill()
            if not may_die:
                raise AssertionError(f"rank {rank}: {results[rank]}")
            results[rank] = None
    for process in processes:
        process.join(PATIENCE)
    return results


def _one(rank, size, port, pipe, work, args):
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"WORLD_SIZE": str(size), "RANK": str(rank), "LOCAL_RANK": str(rank), **address}
    import torch

    from causvid.train import parallel

    torch.set_num_threads(1)
    try:
        ranks = parallel.start()
        result = work(ranks, *args)
        parallel.stop()
        pipe.send((False, result))
    except BaseException:
        pipe.send((True, traceback.format_exc()))
    pipe.close()
    os._exit(0)
