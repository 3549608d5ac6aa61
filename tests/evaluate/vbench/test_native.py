"""Scores of our own carry VBench's name only where upstream's code was seen to agree."""

import hashlib
import json
import sys

import pytest
import torch
from evaluate.vbench.random_networks import noise

from causvid.cli import main
from causvid.errors import UserError
from causvid.evaluate.vbench.clips import write_clip
from causvid.evaluate.vbench.formulas import temporal_flickering
from causvid.evaluate.vbench.native import CERTIFICATES, NATIVE, measure, name_of
from causvid.evaluate.vbench.networks import laion_head, load_state
from causvid.evaluate.vbench.parity import TOLERANCE, UPSTREAM, Parity, certify, compare, sample_clips
from causvid.evaluate.vbench.weights import WEIGHTS, cache_folder, find_weights


def an_export(folder, clips):
    """As an export leaves it: a prompt for flicker, with these clips."""
    (folder / "frames").mkdir(parents=True)
    lines = []
    for number, clip in enumerate(clips):
        path = folder / "frames" / f"a box-{number}.mkv"
        write_clip(clip, path, fps=12, kind="frames", unfinished=folder / "unfinished")
        lines.append(json.dumps({"file": f"a box-{number}.mp4", "prompt": "a box", "sample": number}) + "\n")
    (folder / "clips.jsonl").write_text("".join(lines))
    row = {"prompt_en": "a box", "dimension": ["temporal_flickering"]}
    (folder / "full_info.json").write_text(json.dumps([row]))
    count = {"temporal_flickering": min(len(clips), 5)}
    (folder / "manifest.json").write_text(json.dumps({"videos_read_by_dimension": count}))
    return folder


def a_head(folder):
    path = folder / WEIGHTS["laion-linear"].path
    path.parent.mkdir(parents=True)
    torch.save({"weight": torch.ones(1, 4), "bias": torch.zeros(1)}, path)
    return path


def a_parity(difference=0.0):
    return Parity(dimension="subject_consistency", ours=(0.5,), upstream=(0.5 + difference,), version="0.1.5")


def some_dino(folder, content=b"weights"):
    path = folder / WEIGHTS["dino-vitb16"].path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_an_exports_first_five_videos_are_scored_and_an_interruption_is_taken_up(tmp_path):
    clips = [noise(3, 16, 16, seed=n) for n in range(6)]
    export = an_export(tmp_path, clips)
    wanted = [temporal_flickering(clip).score for clip in clips[:5]]

    score, videos = measure(export, ["temporal_flickering"], weights=tmp_path)["vbench.temporal_flickering"]

    assert [one["video_results"] for one in videos] == wanted
    assert score == pytest.approx(sum(wanted) / 5)
    path = export / "native" / "vbench.temporal_flickering.jsonl"
    lines = path.read_text()
    path.write_text(lines[: len(lines) // 2])
    assert (
        measure(export, ["temporal_flickering"], weights=tmp_path)["vbench.temporal_flickering"][0] == score
    )
    assert path.read_text() == lines
    assert json.loads((export / "native_results.json").read_text())["vbench.temporal_flickering"][0] == score


def test_an_unfinished_export_is_not_scored(tmp_path):
    export = an_export(tmp_path, [noise(2, 16, 16)] * 2)
    (export / "manifest.json").write_text(
        json.dumps({"videos_read_by_dimension": {"temporal_flickering": 5}})
    )

    with pytest.raises(UserError, match=r"holds 2 of 5 videos for temporal_flickering; run the export again"):
        measure(export, ["temporal_flickering"], weights=tmp_path)
    with pytest.raises(UserError, match=r"scene is left to the official tool; here are scored: subject_con"):
        measure(export, ["scene"], weights=tmp_path)


def test_without_a_certificate_a_score_is_called_after_its_network(tmp_path):
    assert name_of("subject_consistency", tmp_path) == "subject_consistency@dino-vitb16"
    assert name_of("temporal_flickering", tmp_path) == "vbench.temporal_flickering"


def test_a_certificate_holds_for_the_weights_it_was_made_with_alone(tmp_path):
    some_dino(tmp_path)
    path = certify(a_parity(TOLERANCE / 2), tmp_path)

    told = json.loads(path.read_text())["subject_consistency"]
    assert told["sha256"] == {"dino-vitb16": hashlib.sha256(b"weights").hexdigest()}
    assert name_of("subject_consistency", tmp_path) == "vbench.subject_consistency"
    some_dino(tmp_path, b"other weights")
    assert name_of("subject_consistency", tmp_path) == "subject_consistency@dino-vitb16"


def test_what_differs_gets_no_certificate(tmp_path):
    some_dino(tmp_path)

    with pytest.raises(UserError, match=r"differs from upstream's by 1.0e-03; at most 1e-05"):
        certify(a_parity(1e-3), tmp_path)
    assert not (tmp_path / CERTIFICATES).exists()


def test_a_missing_file_is_named_with_its_place_source_and_licence(tmp_path):
    with pytest.raises(
        UserError, match=r"dino_model/dino_vitbase16_pretrain.pth; fetch it from .*Apache-2.0"
    ):
        find_weights("dino-vitb16", tmp_path)


def test_a_file_that_is_not_the_published_one_is_refused(tmp_path):
    path = tmp_path / WEIGHTS["clip-vitb32"].path
    path.parent.mkdir()
    path.write_bytes(b"no clip")

    with pytest.raises(UserError, match="is not the published file"):
        find_weights("clip-vitb32", tmp_path)


def test_the_cache_is_upstreams(monkeypatch, tmp_path):
    monkeypatch.setenv("VBENCH_CACHE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("VBENCH_CACHE_DIR")
    assert cache_folder().parts[-2:] == (".cache", "vbench")


def test_laions_head_is_read_from_its_file(tmp_path):
    head = laion_head(a_head(tmp_path))

    torch.testing.assert_close(head(torch.tensor([[1.0, 2.0, 3.0, 4.0]])), torch.tensor([10.0]))


def test_a_damaged_file_of_weights_is_an_error_in_one_line(tmp_path):
    (tmp_path / "head.pth").write_bytes(b"PK\x03\x04 nothing")

    with pytest.raises(UserError, match=r"head.pth is damaged or not a file of weights"):
        load_state(tmp_path / "head.pth")


@pytest.mark.parametrize(
    "package, dimension", [("timm", "subject_consistency"), ("open_clip", "appearance_style")]
)
def test_a_missing_package_is_named_with_its_install(package, dimension, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    files = [tmp_path / "weights.pth"]

    with pytest.raises(UserError, match=rf"{dimension} needs {package}, .*: pip install {package}"):
        NATIVE[dimension].build(files, torch.device("cpu"))


def test_the_verb_prints_names_and_notes(tmp_path, capsys):
    export = an_export(tmp_path, [noise(2, 16, 16)])

    assert main(["vbench-native", str(export), "--weights", str(tmp_path)]) == 0

    assert "| vbench.temporal_flickering | 6" in (out := capsys.readouterr().out)
    assert "without upstream's static filter" in out
    assert main(["vbench-native", str(export), "--dimension", "subject_consistency"]) == 2


def test_only_what_upstream_can_run_here_is_compared(tmp_path):
    assert set(UPSTREAM) == set(NATIVE) - {"imaging_quality"}
    with pytest.raises(UserError, match="imaging_quality cannot be compared"):
        compare("imaging_quality", [], weights=tmp_path)
    with pytest.raises(UserError, match="is not there"):
        compare("subject_consistency", [], weights=tmp_path)


def test_flickering_is_exactly_upstreams(tmp_path):
    pytest.importorskip("vbench.temporal_flickering", exc_type=(ImportError, RuntimeError))

    assert compare("temporal_flickering", sample_clips(), weights=tmp_path).agrees
