"""What is right, factor by factor, for choosing: `python scripts/shares.py arms/teacher tiny`.

Forty held-out prompts of four seconds that no report uses, read by the judge for tuning. "truth" is the
renderer's clips through the embedded autoencoder. SHARES_PROMPTS and SHARES_SECONDS say otherwise how much.
"""

import os
import sys
from collections import defaultdict

import causvid
from causvid.evaluate.arms import anchors, model_arm
from causvid.evaluate.attributes import shown
from causvid.evaluate.protocol import Suite, frames_of, items_of
from causvid.evaluate.verifiers import Judges
from causvid.models.judge_files import shipped_judges

SUITE = Suite(
    name="tune",
    prompts=int(os.environ.get("SHARES_PROMPTS", "40")),
    switches=0,
    samples=1,
    seconds=float(os.environ.get("SHARES_SECONDS", "4")),
    batch=4,
    flow_every=6,
)


def main(names: list[str]) -> None:
    judges = Judges.find([shipped_judges()], verifier="verifier_dev")
    items, frames = items_of(SUITE), frames_of(SUITE)
    for name in names:
        if name == "truth":
            vae = causvid.load("tiny").bundle.vae
            assert vae is not None
            (arm,) = anchors(vae, frames=frames, size=(64, 64), names=["truth_vae"])
        else:
            arm = model_arm(name, causvid.load(name), frames=frames)
        found: dict[str, list[float]] = defaultdict(list)
        for first in range(0, len(items), SUITE.batch):
            group = items[first : first + SUITE.batch]
            for item, clip in zip(group, arm.make(group), strict=True):
                seen = shown(judges.read(clip), item, ends=frames // 2)
                for factor, right in (seen.factors if seen else {}).items():
                    found[factor].append(right)
                    found[f"  {factor} {getattr(item.scene, factor)}"].append(right)
                if seen and seen.kind_by_frame is not None:
                    found["kind frame by frame"].append(seen.kind_by_frame)
        print(f"{name}, {SUITE.prompts} prompts of {SUITE.seconds:g} s")
        for factor, right in sorted(found.items(), key=lambda entry: (entry[0].split(), entry[0])):
            print(f"{factor:24} {sum(right) / len(right):.3f} of {len(right)}")


if __name__ == "__main__":
    if not sys.argv[1:]:
        raise SystemExit("name at least one model, or truth")
    main(sys.argv[1:])
