"""Words read without a network."""

from dataclasses import replace

import torch
from evaluate.rendered import scenes

from causvid.data import worlds
from causvid.data.worlds.backdrop import backdrop_index, backdrops
from causvid.evaluate.analytic import disagreement_table, look, pieces, without_network
from causvid.evaluate.clips import as_clip
from causvid.pixels import to_uint8


def clip_of(scene, frames=24):
    return as_clip(to_uint8(worlds.render([scene], frames, size=(64, 64))[0])[0])


def test_sky_ground_and_colour_of_a_render_are_read_or_left_undecided():
    decided = 0
    for scene in scenes(12):
        seen = look(clip_of(scene, 12))

        assert (seen.sky, seen.ground) == (scene.sky, scene.ground)
        assert seen.colour in (None, scene.colour)
        assert seen.present == 1
        decided += seen.colour is not None
    assert decided >= 10


def test_rain_is_no_object_and_two_objects_are_two():
    rainy = scenes(1, weather=("rain",), colour=("red",), kind=("ball",), sky=("night",), motion=("still",))[
        0
    ]
    one = clip_of(rainy)

    assert look(one).objects == 1
    left, right = (
        as_clip(to_uint8(worlds.render([replace(rainy, place=(x, 0.5))], 24, size=(64, 128))[0])[0])
        for x in (0.0, 1.0)
    )
    both = look(torch.cat([left[..., :64], right[..., 64:]], dim=-1))
    assert both.objects == 2 and both.colour == "red"


def test_an_object_that_vanishes_is_not_there():
    scene = scenes(1, weather=("clear",), colour=("red",), ground=("grass",))[0]
    clip = clip_of(scene)
    clip[12:] = torch.from_numpy((backdrops((64, 64)) + 1) / 2)[backdrop_index(scene.sky, scene.ground)]

    assert look(clip).present == 0.5


def test_pieces_are_counted_by_their_size():
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[0, 1:5, 1:5] = mask[0, 8:14, 8:14] = mask[0, 0, 15] = True

    largest, count = pieces(mask, least=4.0)

    assert count.tolist() == [2] and int(largest.sum()) == 36
    assert pieces(mask, least=20.0)[1].tolist() == [1] and pieces(mask, least=50.0)[1].tolist() == [0]


def test_a_judge_that_reads_other_words_is_named():
    scene = scenes(1, weather=("clear",), colour=("green",), ground=("sand",))[0]
    path = worlds.trajectory(scene, 24)
    lines = [torch.from_numpy(a[0]).float() for a in (path.x, path.y, path.radius)]
    read = {**scene.at(0), "sky": "sunset" if scene.sky != "sunset" else "day"}

    record = {"id": "0", "read": read, **without_network(clip_of(scene), torch.stack(lines, dim=1))}
    found = disagreement_table([record])

    assert found["checked"] == {"sky": 1, "ground": 1, "colour": 1}
    assert found["disagree"] == {"sky": 1}
    assert found["cases"] == [{"id": "0", "factor": "sky", "judge": read["sky"], "analysis": scene.sky}]
    assert record["tracker_gap"] < 0.02
