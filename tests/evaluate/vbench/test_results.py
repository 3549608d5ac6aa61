"""Upstream's results are read as they are, and nothing is made up."""

import json

import pytest
from evaluate.vbench.published import CAUSVID, raw_of

from causvid.errors import UserError
from causvid.evaluate.vbench.results import as_text, read_results


def save(path, table):
    path.write_text(json.dumps(table))
    return path


def upstream(raw, *, videos=2):
    """As upstream writes it."""
    return {
        name: [
            score,
            [
                {
                    "video_path": f"videos/{n}.mp4",
                    "video_results": score * (100 if name == "imaging_quality" else 1),
                }
                for n in range(videos)
            ],
        ]
        for name, score in raw.items()
    }


def test_sixteen_dimensions_from_several_files_make_a_total(tmp_path):
    table = upstream(raw_of(CAUSVID[0]))
    first = {name: table.pop(name) for name in list(table)[:5]}
    save(tmp_path / "a_eval_results.json", first)
    save(tmp_path / "b_eval_results.json", table)

    text = as_text(read_results([tmp_path]), expected=dict.fromkeys(raw_of(CAUSVID[0]), 2))

    assert "quality 85.65" in text and "semantic 78.7" in text and "total 84.2" in text
    assert "| scene | 56.58 | 68.82 | 2 of 2 |  |" in text


def test_a_missing_dimension_leaves_no_total(tmp_path):
    table = upstream(raw_of(CAUSVID[0]))
    del table["color"]

    text = as_text(read_results([save(tmp_path / "r.json", table)]))

    assert "15 of 16 dimensions: no total. Missing: color." in text
    assert "| color | – | – | – | missing |" in text
    assert "total 8" not in text and "semantic 7" not in text and "quality 85.65" in text


def test_missing_videos_leave_no_sum_at_all(tmp_path):
    results = read_results([save(tmp_path / "r.json", upstream(raw_of(CAUSVID[0])))])

    text = as_text(results, expected={"scene": 3, "color": 3})

    assert "videos are missing, so there is no total: scene has 2 of 3." in text
    assert "total 8" not in text and "quality 8" not in text


def test_a_score_that_is_not_the_mean_of_its_videos_says_so(tmp_path):
    table = upstream({"subject_consistency": 0.9})
    table["subject_consistency"][1][0]["video_results"] = 0.5

    text = as_text(read_results([save(tmp_path / "r.json", table)]))

    assert "the mean of its videos is 70.00" in text


def test_booleans_of_the_dynamic_degree_are_ones_and_zeros(tmp_path):
    table = {
        "dynamic_degree": [
            0.5,
            [{"video_path": "a", "video_results": True}, {"video_path": "b", "video_results": False}],
        ]
    }

    assert read_results([save(tmp_path / "r.json", table)])["dynamic_degree"].mean == 0.5


def test_the_competitions_nested_results_are_read(tmp_path):
    table = {
        "text_alignment": [0.3, upstream({"overall_consistency": 0.25, "clip_score": 0.35})],
        "frame_wise_quality": [0.6, upstream({"aesthetic_quality": 0.5, "imaging_quality": 0.7})],
    }

    text = as_text(read_results([save(tmp_path / "r.json", table)]))

    assert "text_alignment (competition) 30.00" in text
    assert "frame_wise_quality (competition) 60.00" in text
    assert "temporal_quality" not in text


def test_files_that_disagree_are_refused(tmp_path):
    one = save(tmp_path / "one.json", upstream({"scene": 0.5}))
    other = save(tmp_path / "other.json", upstream({"scene": 0.6}))

    with pytest.raises(UserError, match=r"scene is in two files with different results, lastly .*other.json"):
        read_results([one, other])


@pytest.mark.parametrize("text", ["[]", "{", '{"scene": 0.5}', '{"scene": [null, []]}'])
def test_a_file_of_another_shape_is_refused_in_one_line(text, tmp_path):
    (tmp_path / "r.json").write_text(text)

    with pytest.raises(UserError, match="not a results file of VBench"):
        read_results([tmp_path / "r.json"])


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no \*_eval_results.json in"):
        read_results([tmp_path])
