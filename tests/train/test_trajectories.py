"""Trajectories of the teacher: states at the student's levels, a function of their seeds alone."""

import json

import pytest
import torch
from random_model import SIGMAS, random_teacher
from safetensors import safe_open
from tiny_training import ALONE, LONG, causal_teacher, seeded, solved_trajectories, trajectories_config

from causvid.data.trajectories import TrajectoryReader
from causvid.errors import UserError
from causvid.flow.schedule import FlowSchedule
from causvid.train.common import Parts, guided_velocity
from causvid.train.parallel import Ranks
from causvid.train.trajectories import kept_steps, make_trajectories, solve, solver_grid, true_clips

SCHEDULE = FlowSchedule()


def solved(bundle, noise, **how):
    text, negative = bundle.text(["a red ball"]), bundle.text([""])
    config = trajectories_config()
    return solve(bundle.denoiser, noise, text, negative, config=config, schedule=SCHEDULE, **how)


def noise(seed=0):
    return torch.randn(1, 4, 4, 4, 2, generator=seeded(seed))


def test_the_first_state_is_the_noise_and_the_others_are_at_the_students_levels():
    bundle = random_teacher()
    states, x0 = solved(bundle, noise())
    text, negative = bundle.text(["a red ball"]), bundle.text([""])

    assert states.shape[1] == len(SIGMAS)
    assert torch.equal(states[:, 0], noise())
    for i, (high, low) in enumerate([(1.0, 0.75), (0.75, 0.5)]):
        level = torch.full((1, 4), high)
        velocity = guided_velocity(bundle.denoiser, states[:, i], level, text, negative, 2.0)
        torch.testing.assert_close(states[:, i + 1], states[:, i] + (low - high) * velocity)
    assert not torch.equal(states[:, -1], x0)


def test_the_last_state_leads_to_the_endpoint():
    bundle = random_teacher()
    states, x0 = solved(bundle, noise())
    text, negative = bundle.text(["a red ball"]), bundle.text([""])

    x = states[:, -1]
    for high, low in [(0.5, 0.25), (0.25, 0.0)]:
        velocity = guided_velocity(bundle.denoiser, x, torch.full((1, 4), high), text, negative, 2.0)
        x = x + (low - high) * velocity

    torch.testing.assert_close(x, x0)


def test_later_noise_changes_nothing_earlier_under_a_causal_teacher():
    bundle, past = causal_teacher(), noise(5)
    changed = noise()
    changed[:, 2:] = noise(1)[:, 2:]

    (states, x0), (other_states, other_x0) = (
        solved(bundle, start, clean=past, layout=LONG) for start in (noise(), changed)
    )

    torch.testing.assert_close(other_x0[:, :2], x0[:, :2], atol=1e-6, rtol=0)
    torch.testing.assert_close(other_states[:, :, :2], states[:, :, :2], atol=1e-6, rtol=0)
    assert not torch.allclose(other_x0[:, 2:], x0[:, 2:], atol=1e-2)


def test_later_noise_changes_the_beginning_under_a_bidirectional_teacher():
    bundle, changed = random_teacher(), noise()
    changed[:, 2:] = noise(1)[:, 2:]

    assert (solved(bundle, noise())[1] - solved(bundle, changed)[1])[:, :2].abs().max() > 1e-2


def test_a_level_that_is_not_on_the_grid_is_refused_with_the_nearest_one():
    with pytest.raises(UserError, match=r"level 0.8 is not on the solver's grid; the nearest is 0.75"):
        kept_steps((1.0, 0.8), SCHEDULE.grid(4))
    with pytest.raises(UserError, match="Choose a multiple of the student's steps, and the same shift"):
        kept_steps((1.0, 0.9, 0.75, 0.5), FlowSchedule(shift=5.0).grid(24))


def test_shift_three_and_twenty_four_steps_pass_the_embedded_students_levels():
    assert kept_steps((1.0, 0.9, 0.75, 0.5), FlowSchedule(shift=3.0).grid(24)) == [0, 6, 12, 18]


def test_levels_may_be_stops_of_their_own_on_the_solvers_way():
    bundle, sigmas = random_teacher(), (0.9, 0.75, 0.3)
    config = trajectories_config(sigmas=sigmas, levels="inserted")
    text, negative = bundle.text(["a red ball"]), bundle.text([""])

    assert solver_grid(config, SCHEDULE) == [1.0, 0.9, 0.75, 0.5, 0.3, 0.25, 0.0]
    states, _ = solve(bundle.denoiser, noise(), text, negative, config=config, schedule=SCHEDULE)
    velocity = guided_velocity(bundle.denoiser, noise(), torch.ones(1, 4), text, negative, 2.0)
    torch.testing.assert_close(states[:, 0], noise() - 0.1 * velocity)


def test_a_level_written_with_three_digits_is_the_grids_own():
    assert kept_steps((1.0, 0.757, 0.522), FlowSchedule(shift=8.0).grid(50)) == [0, 36, 44]


def test_several_samples_may_follow_one_prompt_each_from_its_own_noise(tmp_path):
    config = solved_trajectories(tmp_path, seed=7, seeds_per_prompt=2)

    read = TrajectoryReader(tmp_path).read([0, 1, 2, 3])
    first = config.prompts(read.seeds).first

    assert first[0] == first[1] and first[2] == first[3] and first[0] == config.prompts([7]).first[0]
    assert config.prompt_seed(9) == config.prompt_seed(10) == 8
    assert len({tuple(x.flatten().tolist()) for x in read.states[:, 0]}) == 4


def test_the_grid_may_have_another_shift_than_the_teachers_own(tmp_path):
    levels = (1.0, 0.9375, 0.833333, 0.625)
    with pytest.raises(UserError, match="or let them be stops of their own: levels = 'inserted'"):
        solved_trajectories(tmp_path / "own", sigmas=levels)

    solved_trajectories(tmp_path / "other", sigmas=levels, samples=2, schedule=FlowSchedule(shift=5.0))
    assert TrajectoryReader(tmp_path / "other").read([0]).states.shape[1] == 4


def test_what_is_on_the_way_to_the_students_levels_is_not_stored(tmp_path):
    """Four states of six steps, in half precision, and the endpoint: nothing else of this size."""
    solved_trajectories(tmp_path, samples=2, steps=12)

    with safe_open(tmp_path / "shard-00000.safetensors", framework="pt") as shard:
        sizes = {name: tuple(shard.get_slice(name).get_shape()) for name in shard.keys()}  # noqa: SIM118
    assert sizes == {"states": (2, len(SIGMAS), 4, 4, 4, 2), "x0": (2, 4, 4, 4, 2), "seeds": (2,)}


class Apart(Ranks):
    """A process among several that waits for nobody."""

    def wait(self):
        pass


def shards_in(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def test_ranks_divide_the_shards_and_make_them_as_one_process_would(tmp_path):
    for name, ranks in (("first", Apart(0, 2)), ("second", Apart(1, 2)), ("all", ALONE)):
        make_trajectories(trajectories_config(), random_teacher(), tmp_path / name, ranks=ranks)

    first, second, everything = (shards_in(tmp_path / name) for name in ("first", "second", "all"))
    assert not first.keys() & second.keys() and first | second == everything


@pytest.mark.parametrize("sigmas", [(), (0.75, 0.5), (0.5, 1.0)])
def test_levels_that_do_not_fall_from_pure_noise_are_refused(sigmas):
    with pytest.raises(UserError, match="sigmas are"):
        trajectories_config(sigmas=sigmas)


def test_samples_that_do_not_fill_their_shards_are_refused():
    with pytest.raises(UserError, match="5 samples do not fill shards of 2"):
        trajectories_config(samples=5)


def test_every_sample_is_a_function_of_its_seed_alone(tmp_path):
    solved_trajectories(tmp_path / "all", samples=4)
    solved_trajectories(tmp_path / "some", samples=2, samples_per_shard=1, seed=2)

    both, alone = TrajectoryReader(tmp_path / "all"), TrajectoryReader(tmp_path / "some")

    assert both.read([2, 3]).seeds == alone.read([0, 1]).seeds == [2, 3]
    torch.testing.assert_close(both.read([2, 3]).states, alone.read([0, 1]).states, atol=2e-3, rtol=1e-3)


def test_prompts_are_a_function_of_seeds_and_need_not_be_stored():
    config = trajectories_config()

    prompts = config.prompts([3, 4, 3])

    assert prompts.first[0] == prompts.first[2] == config.prompts([3]).first[0]
    assert prompts.parts.shape == (3, 4)


def test_making_them_again_makes_nothing(tmp_path):
    config = solved_trajectories(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    make_trajectories(config, random_teacher(), tmp_path, ranks=ALONE)

    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_shard_that_is_missing_is_made_as_it_was(tmp_path):
    config = solved_trajectories(tmp_path)
    shard, index = tmp_path / "shard-00000.safetensors", tmp_path / "index.jsonl"
    before = shard.read_bytes()
    lines = [line for line in index.read_text().splitlines() if json.loads(line)["file"] != shard.name]
    index.write_text("".join(line + "\n" for line in lines))
    shard.unlink()

    make_trajectories(config, random_teacher(), tmp_path, ranks=ALONE)

    assert shard.read_bytes() == before


def test_a_causal_teacher_stores_the_past_it_was_solved_under(tmp_path):
    teacher = causal_teacher()
    config = solved_trajectories(tmp_path, teacher=teacher)

    read = TrajectoryReader(tmp_path).read([1])

    truth = true_clips(config, Parts.of({"teacher": teacher}), [0, 1])
    assert torch.equal(read.clean, truth[1:].half().float())


def test_a_model_without_a_transformer_cannot_be_solved(tmp_path):
    eyes = random_teacher()
    eyes.denoiser = None

    with pytest.raises(UserError, match="has no transformer to solve"):
        make_trajectories(trajectories_config(), eyes, tmp_path, ranks=ALONE)
