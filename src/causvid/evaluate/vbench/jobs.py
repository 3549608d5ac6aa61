"""Every video that is to be made: its name, its prompt, its noise.

Noise depends on (suite, original prompt, i) alone: not on order, on which dimensions were chosen, or on the
text a prompt was extended to. Knows no model and writes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from causvid.errors import UserError
from causvid.evaluate.protocol import number_of
from causvid.evaluate.vbench.dimensions import DIMENSIONS
from causvid.evaluate.vbench.naming import MAX_COMPETITION_PROMPTS, Layout, competition_name, video_name
from causvid.evaluate.vbench.suite import Prompt, Prompts, samples_of


@dataclass(frozen=True, kw_only=True)
class Job:
    """One video to make."""

    name: str
    prompt: Prompt
    sample: int
    seed: int

    @property
    def frames_name(self) -> str:
        """Of the file without loss."""
        return frames_name(self.name)


def frames_name(video: str) -> str:
    return f"{video.removesuffix('.mp4')}.mkv"


def jobs_of(prompts: Prompts, *, layout: Layout, samples: int | None) -> list[Job]:
    """All videos of a suite, in its order.

    Args:
        layout: how they are called.
        samples: videos of each prompt; upstream's numbers by default, and one in the competition.

    Raises:
        UserError: the layout has no place for such prompts.
    """
    if samples is not None and samples < 1:
        raise UserError(f"samples is {samples}; at least one video of each prompt is made.")
    if layout == "competition" and ((samples or 1) > 1 or len(prompts.rows) > MAX_COMPETITION_PROMPTS):
        raise UserError(
            f"the competition takes one video of each of at most {MAX_COMPETITION_PROMPTS} prompts; "
            f"{samples or 1} of {len(prompts.rows)} were asked for."
        )
    if layout == "custom":
        _check_custom(prompts)
    jobs = []
    for number, prompt in enumerate(prompts.rows, 1):
        for sample in range(1 if layout == "competition" else samples_of(prompt, samples)):
            fits = layout == "competition"
            name = competition_name(number, prompt.original) if fits else video_name(prompt.original, sample)
            seed = number_of(prompts.name, prompt.original, sample)
            jobs.append(Job(name=name, prompt=prompt, sample=sample, seed=seed))
    return jobs


def _check_custom(prompts: Prompts) -> None:
    asked = {name for row in prompts.rows for name in row.dimensions}
    if labelled := [name for name, row in DIMENSIONS.items() if name in asked and not row.custom]:
        raise UserError(
            f"upstream's custom input has no labels for {', '.join(labelled)}; "
            "name other dimensions or use the layout standard."
        )


def samples_in(jobs: Sequence[Job]) -> dict[str, int]:
    """Videos by original prompt."""
    counts: dict[str, int] = {}
    for job in jobs:
        counts[job.prompt.original] = counts.get(job.prompt.original, 0) + 1
    return counts
