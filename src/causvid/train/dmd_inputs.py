"""What distribution matching starts from, checked before anything is trained."""

from collections.abc import Mapping
from pathlib import Path

from causvid.data.files import straight
from causvid.errors import UserError
from causvid.models.bundle import Bundle
from causvid.train.captions import CaptionFile
from causvid.train.dmd_config import DmdConfig
from causvid.train.own_videos import OwnVideos, open_clips


def checked_teacher(config: DmdConfig, inputs: Mapping[str, Bundle]) -> Bundle:
    """The teacher among the inputs.

    Raises:
        UserError: there is none, or one of another kind than the recipe says.
    """
    teacher = inputs.get("teacher")
    if teacher is None or teacher.denoiser is None or teacher.spec.transformer is None:
        raise UserError("DMD needs [inputs] teacher, a many-step model.")
    kind = "bidirectional" if teacher.spec.layout is None else "causal"
    if kind != config.teacher:
        raise UserError(f"[dmd] teacher is {config.teacher!r}, but [inputs] teacher names a {kind} model.")
    return teacher


def check_fits(role: str, start: Bundle, teacher: Bundle) -> None:
    """Accept a student or critic that may be of another size, but reads the same latents and text.

    Raises:
        UserError: it does not.
    """
    ours, theirs = start.spec.transformer, teacher.spec.transformer
    if ours is None or start.denoiser is None or theirs is None:
        raise UserError(f"[inputs] {role} names {start.spec.name!r}, which has no transformer.")
    for name in ("latent_channels", "text_width", "text_rows"):
        if getattr(ours, name) != getattr(theirs, name):
            raise UserError(
                f"the {role} {start.spec.name!r} has {name} {getattr(ours, name)} and the teacher "
                f"{teacher.spec.name!r} {getattr(theirs, name)}: they cannot look at the same clips. "
                "Sizes may differ, but autoencoder and text encoder must be the same."
            )


def open_prompts(
    config: DmdConfig, inputs: Mapping[str, Bundle], folder: Path
) -> OwnVideos | CaptionFile | None:
    """What the student's own videos follow, where it is not the rendered domain.

    Raises:
        UserError: there is nothing of that name, or nothing that could encode captions.
    """
    if config.prompts is None:
        return None
    place = straight(folder / config.prompts)
    if not place.is_file():
        clips = open_clips(place)
        return clips if isinstance(clips, OwnVideos) else None
    teacher = inputs["teacher"]
    text = inputs.get("text", teacher).text
    if text is None:
        raise UserError("a file of captions needs a text encoder; let [inputs] text name a model with one.")
    return CaptionFile(place, text, negative=teacher.spec.negative)
