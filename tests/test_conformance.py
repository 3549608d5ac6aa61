"""Everything recorded from the public code comes out the same here; see conformance.py."""

import json
import subprocess
import sys
from pathlib import Path

import conformance
import pytest
import torch
from replays.folder import Folder
from safetensors.torch import load_file, save_file

REFERENCE = Path(__file__).parent / "reference"
FILES = [file.name for file in Folder(REFERENCE).recordings()]


@pytest.mark.parametrize("name", FILES)
def test_a_recorded_file_comes_out_the_same(name):
    folder = Folder(REFERENCE)
    file = folder.recording(name)

    cases = list(conformance._replayer(file)(file, folder))

    assert cases
    assert not [conformance.line(case) for case in cases if case.failed]


def test_the_real_models_have_the_weights_their_lists_name():
    cases = list(conformance.maps.key_maps(Folder(REFERENCE)))

    assert len(cases) >= 10
    assert not [conformance.line(case) for case in cases if case.failed]


def test_a_wrong_number_fails(tmp_path, capsys):
    name = "dmd_timestep_table.safetensors"
    tensors = load_file(REFERENCE / name)
    tensors["timestep_shift8.used"][500] += 0.1
    save_file(tensors, tmp_path / name)

    assert conformance.main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.count("FAIL") == 1


def test_a_broken_file_fails_and_the_others_are_replayed(tmp_path, capsys):
    (tmp_path / "broken.safetensors").write_bytes(b"not a recording")
    name = "dmd_timestep_table.safetensors"
    (tmp_path / name).write_bytes((REFERENCE / name).read_bytes())

    assert conformance.main([str(tmp_path)]) == 1
    assert "timestep_shift8" in capsys.readouterr().out


def test_a_missing_file_that_the_manifest_promises_fails(tmp_path):
    name = "dmd_timestep_table.safetensors"
    (tmp_path / name).write_bytes((REFERENCE / name).read_bytes())
    (tmp_path / "MANIFEST.json").write_text(json.dumps({name: {}, "gone.safetensors": {}}))

    assert conformance.main([str(tmp_path)]) == 1


def test_a_folder_where_all_is_skipped_is_no_success(tmp_path):
    save_file({"unknown": torch.zeros(1)}, tmp_path / "unknown.safetensors")

    assert conformance.main([str(tmp_path)]) == 2


def test_an_empty_or_absent_folder_is_said_in_one_line(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "absent"):
        assert conformance.main([str(folder)]) == 2
        assert capsys.readouterr().out.count("\n") == 1


def test_it_runs_as_a_script():
    script = Path(conformance.__file__)
    finished = subprocess.run(
        [sys.executable, script, script.parent / "absent"], capture_output=True, text=True
    )

    assert finished.returncode == 2
    assert "holds no" in finished.stdout
