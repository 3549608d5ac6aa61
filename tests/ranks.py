"""Several processes of a test's own, as torchrun would start them, forked from one that has imported all."""

import multiprocessing
import os
import tempfile
import traceback
from multiprocessing.connection import wait

PRELOADED = ["rank_work"]
PATIENCE = 240
"""Seconds."""


def on_ranks(size, work, *args, may_die=False):
    """work(ranks, *args) in each of `size` processes; what it returned, by rank.

    With may_die the others are killed when one has gone, as torchrun does; None is what nobody returned.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        pipes = [context.Pipe(duplex=False) for _ in range(size)]
        processes = [
            context.Process(target=_one, args=(rank, size, folder, pipes[rank][1], work, args), daemon=True)
            for rank in range(size)
        ]
        for process, (_, mine) in zip(processes, pipes, strict=True):
            process.start()
            mine.close()
        try:
            return _results([end for end, _ in pipes], may_die=may_die)
        finally:
            for process in processes:
                process.kill()
                process.join()


def _results(ends, *, may_die):
    """What comes out of these pipes; the first to fail ends it for all."""
    results, errors, waiting = [None] * len(ends), [], dict(enumerate(ends))
    while waiting:
        ready = wait(waiting.values(), timeout=PATIENCE)
        if not ready:
            raise AssertionError(f"nothing was heard of ranks {sorted(waiting)} in {PATIENCE} s; {errors}")
        for rank in [rank for rank, end in waiting.items() if end in ready]:
            try:
                error, results[rank] = waiting.pop(rank).recv()
            except EOFError:
                if may_die:
                    return results
                error = "it ended without a word"
            if error:
                errors.append(f"rank {rank}: {error}")
            if errors and not may_die:  # with may_die it may be the dead one that is missed
                raise AssertionError(errors[0])
    assert not errors, errors
    return results


def _one(rank, size, folder, pipe, work, args):
    os.environ |= {"WORLD_SIZE": str(size), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    import torch
    import torch.distributed as dist

    from causvid.train import parallel

    torch.set_num_threads(1)
    try:
        # They meet in a file, which no other test can take as it could a port.
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
        result = work(parallel.start(), *args)
        parallel.stop()
        pipe.send((None, result))
    except BaseException:
        pipe.send((traceback.format_exc(), None))
    pipe.close()
    os._exit(0)
