# Two commands do everything on a fresh machine: `make demo` and `make test`. Both go through `make env`.
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
export UV_PYTHON_DOWNLOADS = never
export UV_LINK_MODE = copy

JOBS ?= 2

.PHONY: env demo test lint docs benchmark clean

env: .venv/.stamp

# Debian's python3 has no ensurepip without python3-venv; pip into a target folder works in either case.
.uv/bin/uv:
	$(PYTHON) -m venv .uv && .uv/bin/pip install --quiet uv \
	|| { rm -rf .uv; $(PYTHON) -m pip install --quiet --break-system-packages --target .uv uv; }

.venv/.stamp: pyproject.toml uv.lock | $(filter .uv/bin/uv,$(UV))
	$(UV) sync --frozen --all-extras --python $(PYTHON)
	touch $@

# From a grid of crystals and an uncalibrated instrument, both simulated, to a refined structure, compared with the truth.
demo: env
	.venv/bin/credo demo --out demo --force

test: env
	.venv/bin/pytest -n $(JOBS) --dist loadfile

lint: env
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports
	.venv/bin/pyright

docs: env
	.venv/bin/sphinx-build -W -q -b html docs docs/_build/html

benchmark: env
	.venv/bin/python -m benchmarks

clean:
	rm -rf .venv .uv demo docs/_build
