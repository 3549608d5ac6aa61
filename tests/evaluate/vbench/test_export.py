"""An export from a model to a folder upstream reads."""

import json

import av
import pytest
import torch
from evaluate.judged import worlds_student

from causvid.cli import main
from causvid.errors import UserError
from causvid.evaluate.vbench.clips import read_clip, write_clip
from causvid.evaluate.vbench.export import export
from causvid.evaluate.vbench.jobs import jobs_of
from causvid.evaluate.vbench.suite import Prompt, Prompts

PROMPTS = Prompts(
    name="few",
    rows=(
        Prompt(original="a red ball, on the grass", dimensions=("color", "dynamic_degree")),
        Prompt(original="a blue box", dimensions=("temporal_flickering",), extended="a blue box stays still"),
    ),
)


def exported(folder, prompts=PROMPTS, *, said=None, **how):
    return export(
        worlds_student(),
        prompts,
        folder,
        **{"layout": "standard", "samples": 2, "seconds": 1.0, **how},
        say=(said if said is not None else []).append,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    said = []
    return folder, exported(folder, said=said), said


def noise_frames(frames=5, size=(18, 33)):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (frames, *size, 3), dtype=torch.uint8, generator=generator)


def test_only_the_videos_are_where_upstream_looks(finished):
    folder, _, _ = finished

    assert sorted(path.name for path in (folder / "videos").iterdir()) == [
        *("a blue box-0.mp4", "a blue box-1.mp4"),
        *("a red ball, on the grass-0.mp4", "a red ball, on the grass-1.mp4"),
    ]


def test_videos_are_lossless_h264_at_the_models_rate(finished):
    folder, manifest, _ = finished

    with av.open(folder / "videos" / "a blue box-0.mp4") as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv444p"
        assert stream.average_rate == manifest["fps"] == 12
        assert stream.frames == manifest["frames"] == 12


def test_the_frames_beside_them_are_those_the_model_made(finished):
    folder, _, _ = finished
    job = jobs_of(PROMPTS, layout="standard", samples=2)[3]

    made = worlds_student().generate("a blue box stays still", seconds=1.0, seed=job.seed)

    assert torch.equal(read_clip(folder / "frames" / job.frames_name), made)


def test_the_folder_says_what_was_asked(finished):
    folder, manifest, said = finished
    lines = [json.loads(line) for line in (folder / "clips.jsonl").read_text().splitlines()]

    assert json.loads((folder / "manifest.json").read_text()) == json.loads(json.dumps(manifest))
    assert manifest["lane"] == "VBench"
    assert manifest["videos_read_by_dimension"] == {
        "temporal_flickering": 2,
        "dynamic_degree": 2,
        "color": 2,
    }
    assert [line["text"] for line in lines][2:] == ["a blue box stays still"] * 2
    assert json.loads((folder / "prompts.json").read_text())["a blue box-1.mp4"] == "a blue box"
    assert json.loads((folder / "full_info.json").read_text())[1] == {
        "prompt_en": "a blue box",
        "dimension": ["temporal_flickering"],
    }
    assert "five videos of each prompt and there are 2" in said[-1]


def test_an_interrupted_export_goes_on_and_ends_the_same(finished):
    folder, manifest, _ = finished
    lines = (folder / "clips.jsonl").read_text().splitlines(keepends=True)
    before = {path.name: path.read_bytes() for path in (folder / "videos").iterdir()}
    kept = (folder / "videos" / "a red ball, on the grass-0.mp4").stat().st_mtime_ns
    (folder / "clips.jsonl").write_text("".join(lines[:2]) + lines[2][:30])
    (folder / "videos" / "a blue box-1.mp4").unlink()

    assert exported(folder) == manifest
    assert {path.name: path.read_bytes() for path in (folder / "videos").iterdir()} == before
    assert (folder / "clips.jsonl").read_text() == "".join(lines)
    assert (folder / "videos" / "a red ball, on the grass-0.mp4").stat().st_mtime_ns == kept


def test_a_folder_of_another_question_is_refused(finished):
    folder, _, _ = finished

    with pytest.raises(UserError, match=r"another question \(seconds, frames differ\)"):
        exported(folder, seconds=2.0)


def test_a_strange_file_among_the_videos_is_refused(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "notes.txt").touch()

    with pytest.raises(UserError, match=r"holds 'notes.txt', which is none of these videos"):
        exported(tmp_path)


def test_a_bad_name_is_refused_before_anything_is_made(tmp_path):
    bad = Prompts(name="bad", rows=(*PROMPTS.rows, Prompt(original="a/b", dimensions=("color",))))

    with pytest.raises(UserError, match="cannot be called so"):
        exported(tmp_path, bad)
    assert not list((tmp_path / "videos").iterdir()) and not (tmp_path / "manifest.json").exists()


def test_odd_sizes_and_broken_rates_are_written_exactly(tmp_path):
    frames = noise_frames()
    write_clip(frames, tmp_path / "a.mkv", fps=24000 / 1001, kind="frames", unfinished=tmp_path / "u")
    write_clip(frames, tmp_path / "a: b.mp4", fps=24000 / 1001, kind="video", unfinished=tmp_path / "u")

    assert torch.equal(read_clip(tmp_path / "a.mkv"), frames)
    with av.open(f"file:{tmp_path / 'a: b.mp4'}") as container:
        assert container.streams.video[0].average_rate.as_integer_ratio() == (24000, 1001)
    error = (read_clip(tmp_path / "a: b.mp4").float() - frames.float()).square().mean()
    assert error < 255**2 / 10**4.5  # 45 dB for noise of all colours, most of it rounding


def test_the_verb_exports_and_refuses_flags_of_a_report(tmp_path, capsys):
    worlds_student().save(tmp_path / "model")
    (tmp_path / "prompts.txt").write_text("a red ball")
    words = ["evaluate", str(tmp_path / "model"), "--vbench-export", str(tmp_path / "out"), "--seconds", "1"]
    more = ["--vbench-prompts", str(tmp_path / "prompts.txt"), "--vbench-layout", "custom", "--samples", "1"]

    assert main([*words, *more, "--vbench-dimension", "dynamic_degree", "human_action"]) == 0
    assert "1 videos of 1 s, for VBench" in capsys.readouterr().out
    assert main([*words, "--teacher", "tiny"]) == 2
    assert "--teacher goes with a report" in capsys.readouterr().err
    assert main(["evaluate", "tiny", "--samples", "1"]) == 2
    assert "--samples goes with --vbench-export DIR" in capsys.readouterr().err


def test_the_other_verb_prints_the_table_of_an_export(finished, tmp_path, capsys):
    folder, _, _ = finished
    videos = [{"video_path": f"{n}.mp4", "video_results": n == 0} for n in range(2)]
    (tmp_path / "a_eval_results.json").write_text(json.dumps({"dynamic_degree": [0.5, videos]}))

    assert main(["vbench-score", str(tmp_path), "--export", str(folder)]) == 0

    out = capsys.readouterr().out
    assert "random, few, VBench" in out
    assert "| dynamic_degree | 50.00 | 50.00 | 2 of 2 |  |" in out
    assert "1 of 16 dimensions: no total" in out
