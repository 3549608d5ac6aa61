# make check: what has to pass before a commit. `bash scripts/setup.sh dev` makes the environment.
BIN := $(or $(VENV),.venv)/bin

.PHONY: check lint types test format

check: lint types test

lint:
	"$(BIN)/python" -m ruff check .
	"$(BIN)/python" -m ruff format --check .

types:
	"$(BIN)/python" -m mypy

test:
	bash scripts/test.sh

format:
	"$(BIN)/python" -m ruff check --fix .
	"$(BIN)/python" -m ruff format .
