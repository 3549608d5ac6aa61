"""A sheet of unpicked prompts: `python scripts/unpicked.py docs/images/unpicked.png [MODEL]`.

Sixteen prompts of held-out combinations, drawn from a fixed seed and never chosen, streamed for eight
seconds by MODEL (the embedded one by default) as its own folder says: noise levels, chunks, window.
"""

import sys

import torch

from causvid.data.sheets import sheet
from causvid.generate.inputs import sampler_of
from causvid.models.bundle import load_bundle
from causvid.train.common import Parts


def main(out: str, name: str = "tiny") -> None:
    bundle = load_bundle(name)
    assert bundle.denoiser is not None
    sigmas, renoise = sampler_of(bundle)
    preview = Parts.of({"teacher": bundle}).preview(
        bundle.denoiser,
        torch.Generator().manual_seed(0),
        frames=24,
        sigmas=sigmas,
        layout=bundle.spec.layout,
        renoise=renoise,
        count=16,
    )
    sheet(list(preview.clips), labels=preview.labels).save(out)


if __name__ == "__main__":
    with torch.no_grad():
        main(*sys.argv[1:])
