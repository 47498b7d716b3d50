# Every target creates the environment when it is missing. `make demo` and `make test` are all that a newcomer needs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
OUT    ?= out/shard
SRC    ?= videos
RECIPE ?= demo
JOBS   ?= 2
# One thread per process: processes are what this project scales with, and nested pools make them slower.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export NUMBA_NUM_THREADS := 1

.PHONY: demo test test-slow shard check format report bench-accuracy bench-fit bench-dialogue bench-reader bench-tracks docs clean

demo: $(VENV)/ready
	$(BIN)/dialogbuild demo --out out/demo
	$(BIN)/dialogbuild validate out/demo/dataset

shard: $(VENV)/ready
	$(BIN)/dialogbuild run $(RECIPE) $(SRC) --out $(OUT)

report: $(VENV)/ready
	$(BIN)/dialogbuild report --out $(OUT)

test: $(VENV)/ready check
	$(BIN)/pytest -n $(JOBS) --dist loadfile

test-slow: $(VENV)/ready
	$(BIN)/pytest -n $(JOBS) --dist loadfile -m "slow or not slow"

check: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench-accuracy: $(VENV)/ready
	$(BIN)/python benchmarks/accuracy.py

bench-fit: $(VENV)/ready
	$(BIN)/python benchmarks/fit.py --cache out/bench-fit

bench-dialogue: $(VENV)/ready
	$(BIN)/python benchmarks/dialogue.py --cache out/bench-dialogue

bench-reader: $(VENV)/ready
	$(BIN)/python benchmarks/reader.py

bench-tracks: $(VENV)/ready
	$(BIN)/python benchmarks/tracks.py --link --cache out/bench-tracks

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# resemblyzer is taken for its weights file alone: its own dependency webrtcvad no longer installs (it needs pkg_resources).
$(VENV)/ready: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info < (3, 13) else "dialogbuild needs Python 3.10-3.12 (mediapipe has no later wheel); make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps resemblyzer==0.1.4
	@$(BIN)/python -c 'import cv2' 2>/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends libgl1 libglib2.0-0; } || true
	@$(BIN)/python -c 'import cv2' || { echo "OpenCV needs libGL and glib: sudo apt-get install libgl1 libglib2.0-0"; exit 1; }
	touch $@

clean:
	rm -rf out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
