"""Two models of random weights, and an empty folder to work in."""

import pytest
import torch
from random_model import random_student, random_teacher


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder with the models `student` and `teacher`."""
    folder = tmp_path_factory.mktemp("models")
    random_student().save(folder / "student")
    random_teacher().save(folder / "teacher")
    return folder


@pytest.fixture
def here(models, tmp_path, monkeypatch):
    """An empty working folder beside which the models are named `student` and `teacher`."""
    for name in ("student", "teacher"):
        (tmp_path / name).symlink_to(models / name)
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)
