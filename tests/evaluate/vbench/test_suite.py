"""Prompts, names and noise of an export: all settled before a frame is made."""

import json

import pytest

from causvid.data import worlds
from causvid.errors import UserError
from causvid.evaluate.vbench.dimensions import DIMENSIONS
from causvid.evaluate.vbench.jobs import jobs_of
from causvid.evaluate.vbench.naming import check_names, competition_name, video_name
from causvid.evaluate.vbench.suite import Prompt, Prompts, own_suite, read_suite

OFFICIAL = [
    {"prompt_en": "In a still frame, a stop sign", "dimension": ["temporal_flickering"]},
    {"prompt_en": "alley", "dimension": ["scene"], "auxiliary_info": {"scene": {"scene": "alley"}}},
    {"prompt_en": "alley", "dimension": ["background_consistency"]},
    {"prompt_en": "a red bicycle", "dimension": ["color"], "auxiliary_info": {"color": {"color": "red"}}},
]


def official(folder, rows=OFFICIAL):
    path = folder / "VBench_full_info.json"
    path.write_text(json.dumps(rows))
    return read_suite(path)


def lines(folder, text):
    (folder / "prompts.txt").write_text(text)
    return read_suite(folder / "prompts.txt")


def one(prompt):
    return Prompts(name="mine", rows=(Prompt(original=prompt, dimensions=("color",)),))


def test_a_prompt_listed_twice_is_asked_once_for_both_its_dimensions(tmp_path):
    prompts = official(tmp_path)

    assert [row.original for row in prompts.rows] == [
        "In a still frame, a stop sign",
        "alley",
        "a red bicycle",
    ]
    assert prompts.rows[1].dimensions == ("scene", "background_consistency")
    assert prompts.rows[1].row()["auxiliary_info"] == {"scene": {"scene": "alley"}}


def test_every_prompt_has_five_videos_and_those_for_flicker_twenty_five(tmp_path):
    jobs = jobs_of(official(tmp_path), layout="standard", samples=None)

    assert len(jobs) == 25 + 5 + 5
    assert jobs[24].name == "In a still frame, a stop sign-24.mp4"
    assert jobs[25].name == "alley-0.mp4"


def test_noise_follows_from_suite_prompt_and_sample_whatever_else_is_asked(tmp_path):
    everything = {job.name: job.seed for job in jobs_of(official(tmp_path), layout="standard", samples=None)}
    fewer = jobs_of(official(tmp_path).selected(["color", "scene"]), layout="standard", samples=2)

    assert {job.name: job.seed for job in fewer}.items() <= everything.items()
    assert len(set(everything.values())) == len(everything)


def test_choosing_dimensions_leaves_their_prompts_and_nothing_else(tmp_path):
    chosen = official(tmp_path).selected(["background_consistency"])

    assert [(row.original, row.dimensions) for row in chosen.rows] == [("alley", ("background_consistency",))]
    with pytest.raises(UserError, match="has no prompt for human_action"):
        official(tmp_path).selected(["human_action"])


def test_an_extended_prompt_makes_the_video_and_the_original_names_it(tmp_path):
    (tmp_path / "long.txt").write_text("A stop sign, unmoving.\nA narrow alley.\nA bicycle, red as blood.\n")

    prompts = official(tmp_path).extended(tmp_path / "long.txt")
    job = jobs_of(prompts, layout="standard", samples=1)[1]

    assert (job.name, job.prompt.text) == ("alley-0.mp4", "A narrow alley.")
    assert job.seed == jobs_of(official(tmp_path), layout="standard", samples=1)[1].seed
    assert prompts.sha256 != official(tmp_path).sha256


def test_a_prompt_without_its_extended_text_is_named(tmp_path):
    (tmp_path / "long.json").write_text(json.dumps({"alley": "A narrow alley."}))

    with pytest.raises(UserError, match=r"no text for 'In a still frame, a stop sign' and 1 other"):
        official(tmp_path).extended(tmp_path / "long.json")
    (tmp_path / "long.txt").write_text("only one line")
    with pytest.raises(UserError, match=r"has 1 lines and the suite 3 prompts"):
        official(tmp_path).extended(tmp_path / "long.txt")


def test_names_hold_prompts_of_any_length_a_disk_takes():
    prompt = "x" * 210

    assert video_name(prompt, 4) == f"{prompt}-4.mp4"
    check_names([video_name(prompt, 4)], folds_case=False)
    with pytest.raises(UserError, match=r"takes 306 bytes; 255 are possible"):
        check_names([video_name("é" * 150, 4)], folds_case=False)


@pytest.mark.parametrize("prompt", ["a/b", "../../etc/passwd", "..", ".hidden", "a\\b", "two\nlines", "a\0b"])
def test_a_prompt_that_is_no_files_name_is_refused(prompt):
    with pytest.raises(UserError, match="cannot be called so"):
        check_names(
            [job.name for job in jobs_of(one(prompt), layout="standard", samples=1)], folds_case=False
        )


def test_names_that_differ_in_case_alone_collide_where_the_disk_says_so():
    names = ["A fantasy landscape-0.mp4", "a fantasy landscape-0.mp4"]

    check_names(names, folds_case=False)
    with pytest.raises(UserError, match=r"are the same to this disk, which ignores case"):
        check_names(names, folds_case=True)
    with pytest.raises(UserError, match=r"are the same to this disk"):
        check_names(["caf\u00e9-0.mp4", "cafe\u0301-0.mp4"], folds_case=True)


def test_two_equal_names_collide_everywhere():
    with pytest.raises(UserError, match=r"are the same; leave one prompt out"):
        check_names(["a-0.mp4", "a-0.mp4"], folds_case=False)


def test_the_competition_names_videos_by_number_and_three_words(tmp_path):
    prompts = lines(tmp_path, "Close up of grapes on a rotating table.\n\nTurtle swimming in ocean.\n")

    names = [job.name for job in jobs_of(prompts, layout="competition", samples=None)]

    assert names == ["0001_Close_up_of.mp4", "0002_Turtle_swimming_in.mp4"]
    assert sorted(competition_name(n, "a b c") for n in (10, 9, 100)) == [
        competition_name(n, "a b c") for n in (9, 10, 100)
    ]
    with pytest.raises(UserError, match=r"one video of each .*; 5 of 2 were asked for"):
        jobs_of(prompts, layout="competition", samples=5)


def test_custom_input_refuses_what_it_has_no_labels_for(tmp_path):
    prompts = lines(tmp_path, "a cat\na dog")

    assert len(jobs_of(prompts, layout="custom", samples=1)) == 2
    assert set(prompts.rows[0].dimensions) == {name for name, row in DIMENSIONS.items() if row.custom}
    with pytest.raises(UserError, match="has no labels for color, scene"):
        jobs_of(official(tmp_path), layout="custom", samples=None)


def test_the_embedded_models_suite_has_upstreams_form_and_unseen_combinations():
    prompts = own_suite()
    known = set(worlds.vocabulary())

    assert len({row.original for row in prompts.rows}) == len(prompts.rows)
    assert prompts.sha256 == own_suite().sha256
    for row in prompts.rows:
        assert set(row.original.replace(",", " ").split()) <= known
        assert set(row.dimensions) <= set(DIMENSIONS)
        needed = {name for name in row.dimensions if not DIMENSIONS[name].custom}
        assert set(row.auxiliary) == needed


@pytest.mark.parametrize("rows", [{"a": 1}, [{"prompt": "a"}], "no"])
def test_a_file_that_is_no_suite_is_refused_in_one_line(rows, tmp_path):
    with pytest.raises(UserError, match=r"not VBench_full_info\.json or a text file"):
        official(tmp_path, rows)


def test_an_unknown_dimension_in_a_suite_is_refused(tmp_path):
    with pytest.raises(UserError, match="no dimension 'beauty'"):
        official(tmp_path, [{"prompt_en": "a", "dimension": ["beauty"]}])
