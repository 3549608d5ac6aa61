"""A stream measured part by part: with weights or without, every part that runs is counted."""

import json

import pytest
import torch
from random_model import random_student, random_teacher
from tiny_wan import wan_folder

from causvid.cli import main
from causvid.errors import UserError
from causvid.evaluate.chunks import PARTS, lines, measure
from causvid.evaluate.subjects import loaded_subject, random_subject

HOW = {"dtype": torch.float32, "device": torch.device("cpu"), "window": None, "sink": 0, "steps": None}


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    return wan_folder(tmp_path_factory.mktemp("wan") / "wan")


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    random_student().save(tmp_path_factory.mktemp("student") / "student")
    return next(tmp_path_factory.getbasetemp().glob("student*/student"))


def test_a_bidirectional_model_is_measured_as_the_student_it_would_become(wan):
    subject = random_subject(str(wan), decoding="full", **{**HOW, "window": 6})

    found = measure(subject, size=(32, 48), chunks=3)

    assert subject.spec.sigmas == (1.0, 0.9375, 0.833333, 0.625)
    assert found["how"]["warmup"] == 3 and found["latent_frames_seen"] == 6
    assert found["first_frames"] == 9
    assert all(0 < found["parts"][part]["p50"] <= found["parts"][part]["p99"] for part in PARTS)
    whole = sum(found["parts"][part]["p50"] for part in PARTS)
    assert found["parts"]["chunk"]["p50"] == pytest.approx(whole, rel=0.5)
    assert found["frames_per_second"] > 0 and found["first_frames_seconds"] > 0


@pytest.mark.parametrize(
    ("decoding", "name"), [("wan", "WanVAE"), ("tiny", "TAEHVDecoder"), ("none", "none")]
)
def test_the_decoder_is_chosen_by_a_word(wan, decoding, name):
    subject = random_subject(str(wan), decoding=decoding, **HOW)

    found = measure(subject, size=(16, 16), chunks=1, warmup=0)

    assert found["how"]["vae"] == name
    assert (found["parts"]["decode"]["p50"] > 0) == (decoding != "none")
    assert (found["parts"]["copy"]["p50"] > 0) == (decoding != "none")


def test_a_sink_and_precision_are_as_asked_and_said(wan):
    how = {**HOW, "dtype": torch.bfloat16, "window": 9, "sink": 3}
    found = measure(random_subject(str(wan), decoding="tiny", **how), size=(16, 16), chunks=1, warmup=0)

    said = " ".join(lines(found))
    for words in (
        "bfloat16",
        "window 9 latent frames",
        "sink 3",
        "4 steps",
        "TAEHVDecoder",
        "random weights",
    ):
        assert words in said


def test_a_loaded_model_keeps_its_weights_levels_and_chunks(student):
    subject = loaded_subject(str(student), base=None, decoding="full", **HOW)

    assert subject.spec.sigmas == (1.0, 0.75, 0.5) and subject.spec.layout.frames_per_chunk == 2
    assert torch.equal(
        subject.denoiser.transformer.out.weight, random_student().denoiser.transformer.out.weight
    )
    assert measure(subject, size=(32, 16), chunks=2)["how"]["weights"] == "its own"


def test_a_released_model_needs_no_file():
    with pytest.raises(UserError, match=r"size 33x16 .* height must be a positive multiple of 16"):
        # The sizes of the small one, but on a device that holds nothing.
        subject = random_subject(
            "wan2.1-t2v-1.3b", decoding="none", **{**HOW, "device": torch.device("meta")}
        )
        measure(subject, size=(33, 16), chunks=1)


def test_what_does_not_fit_is_refused(wan, student):
    for name, change, size, message in (
        (wan, {"window": 4, "sink": 3}, (16, 16), "must fit inside it"),
        (student, {"decoding": "tiny"}, (32, 16), "has no latents of Wan's; use full, or none"),
    ):
        with pytest.raises(UserError, match=message):
            measure(random_subject(str(name), **{**HOW, "decoding": "full", **change}), size=size, chunks=1)
    with pytest.raises(UserError, match="at least 1 is measured"):
        measure(random_subject(str(wan), decoding="none", **HOW), size=(16, 16), chunks=0)


def test_the_verb_prints_a_table_or_one_object(wan, tmp_path, monkeypatch, capsys):
    random_teacher().save(tmp_path / "teacher")
    monkeypatch.chdir(tmp_path)
    words = [
        "bench",
        str(wan),
        "--random-weights",
        "--size",
        "16x16",
        "--window",
        "3",
        "--chunks",
        "2",
        "--steps",
        "1",
    ]

    assert main(words) == 0
    table = capsys.readouterr().out
    assert main([*words, "--vae", "none", "--dtype", "bfloat16", "--warmup", "0", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)

    assert all(part in table for part in (*PARTS, "chunk", "frames/s"))
    assert (
        facts["how"]["chunks"] == 2 and facts["how"]["steps"] == 1 and facts["how"]["precision"] == "bfloat16"
    )
    assert main(["bench", "teacher", "--steps", "1"]) == 2
    assert "go with --chunks or --random-weights" in capsys.readouterr().err
    assert main(["bench", "teacher", "--chunks", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["how"]["weights"] == "its own"
