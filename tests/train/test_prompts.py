"""What a student's own videos follow: scenes as before, or somebody's captions, some of which change."""

import pytest
import torch
from random_model import random_student
from tiny_training import seeded

from causvid.errors import UserError
from causvid.train.captions import CaptionFile
from causvid.train.clips import Prompts
from causvid.train.prompts import Captions, Scenes

LINES = [f"{colour} {thing}" for colour in ("a red", "a blue") for thing in ("ball", "box", "grass")]


def captions(folder, *, change_probability=0.0, lines=(*LINES, "", "  ")):
    path = folder / "captions.txt"
    path.write_text("\n".join(lines))
    own = CaptionFile(path, random_student().text, negative="grass")
    return Captions(own, change_probability, 3)


def test_every_caption_of_a_file_comes_once_in_an_epoch_and_in_another_order_in_the_next(tmp_path):
    source = captions(tmp_path)

    epochs = [source.draw(6, 12, seeded(), first=6 * n).labels for n in range(3)]

    assert all(sorted(epoch) == sorted(LINES) for epoch in epochs)
    assert epochs[0] != epochs[1] or epochs[1] != epochs[2]
    assert source.draw(2, 12, seeded(9), first=4).labels == epochs[0][4:]


def test_captions_are_encoded_as_prompts_are(tmp_path):
    source, bundle = captions(tmp_path), random_student()

    drawn = source.draw(3, 12, seeded(), first=0)

    assert torch.equal(drawn.encode(None).tokens, bundle.text(drawn.labels).tokens)
    assert torch.equal(source.own.negative(2).tokens, bundle.text(["grass"] * 2).tokens)
    assert drawn.encode(None).parts is None


def test_captions_change_for_others_at_the_beginning_of_a_chunk(tmp_path):
    source, bundle = captions(tmp_path, change_probability=1.0), random_student()

    drawn = source.draw(40, 12, seeded(), first=0)

    text = drawn.encode(None)
    changes = (text.parts.diff(dim=1) != 0).float().argmax(dim=1) + 1
    assert set(changes.tolist()) == {3, 6, 9}
    assert (text.parts[:, 0] == 0).all() and (text.parts[:, -1] == 1).all()
    before, after = (bundle.text([label.split(" / ")[n] for label in drawn.labels]) for n in (0, 1))
    assert torch.equal(text.tokens, torch.stack([before.tokens, after.tokens], dim=1))


def test_as_many_captions_change_as_asked(tmp_path):
    drawn = captions(tmp_path, change_probability=0.3).draw(200, 12, seeded(), first=0)

    share = drawn.encode(None).parts.any(dim=1).float().mean()
    assert 0.2 < share < 0.4
    assert sum("/" in label for label in drawn.labels) == share * 200


def test_scenes_change_when_they_say():
    drawn = Scenes(1.0).draw(8, 24, seeded(), first=0)

    assert isinstance(drawn, Prompts) and drawn.parts.shape == (8, 24)
    assert drawn.parts.any() and (drawn.parts.diff(dim=1) >= 0).all()


def test_a_file_without_captions_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="holds no caption; write one a line"):
        captions(tmp_path, lines=("", " "))
    with pytest.raises(UserError, match="cannot be read as text"):
        CaptionFile(tmp_path / "missing.txt", random_student().text, negative="")
