# Two commands do everything: `make demo` and `make test`. Both set up what they need.
VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready
SEEDS   ?= 20000
MINUTES ?= 1
LOG     ?= sqlite
THROUGH ?= follower
# One more than there are processors: a third of the time, tests wait for processes and clocks.
WORKERS ?= $(shell expr $$(nproc) + 1)

.PHONY: help demo demo-quorum test check lint types imports sim mutants fire chaos hosts chaos-peers conformance million bench readme lock clean

help:  ## show what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

demo: $(READY)  ## three nodes, real clients, a killed leader: the main job, on the embedded log
	@$(BIN)/semel demo

demo-quorum: $(READY)  ## the same on three etcd members and three nodes; etcd's leader is killed, too
	@$(BIN)/semel demo --quorum

# A test starts many processes: what one of them has compiled, the others need not.
test: export PYTHONDONTWRITEBYTECODE =
test: $(READY)  ## the whole test suite, with coverage of the core by its own tests; in WORKERS processes
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS) --cov

check: lint types imports  ## lint, types and import rules

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports --no-cache

sim: $(READY)  ## the simulator over SEEDS=20000 seeds
	$(BIN)/python -m semel.sim --seeds $(SEEDS)

mutants: $(READY)  ## broken cores, each of which the judge must catch
	$(BIN)/python -m semel.sim.mutants

million: $(READY)  ## restart a node whose log has a million calls; LOG=etcd: a million calls through a quorum
	$(BIN)/python -m $(if $(filter etcd,$(LOG)),tests.bench.million,tests.processes.million)

bench: $(READY)  ## all that is measured, or PART=… of it: quorum, gateway, peers, shares, growth, paper; writes docs/PERFORMANCE.md (not with QUICK=1)
	$(BIN)/python -m tests.bench $(PART) $(if $(QUICK),--quick)

fire: $(READY)  ## kill -9 of the leader under load, twenty times over, with its figures
	$(BIN)/python -m tests.processes.fire

chaos: $(READY)  ## real nodes and clients under a nemesis for MINUTES=1, SEED=any, LOG=sqlite; then the judge
	$(BIN)/python -m tests.chaos.run --minutes $(MINUTES) --log $(LOG) $(if $(SEED),--seed $(SEED))

hosts: $(READY)  ## three hosts as network namespaces: cuts, deaths, full disks and clocks, at full length (needs root)
	SEMEL_HOSTS=full $(BIN)/python -m pytest tests/hosts $(ARGS)

readme: $(READY)  ## put the demos' real output into the README
	scripts/readme $(BIN)/semel

chaos-peers: $(READY)  ## the same fire on Restate, DBOS, Temporal, Celery and semel; writes docs/GUARANTEES.md
	@$(BIN)/python -m tests.peers

conformance: $(READY)  ## MCP's own conformance suite, THROUGH=follower, failover, node or direct
	@$(BIN)/python -m tests.conformance --through $(THROUGH) --extensions

lock:  ## choose newest versions of all dependencies and pin them
	scripts/lock

clean:
	rm -rf $(VENV) .peers .conformance .real .coverage* .pytest_cache .mypy_cache .ruff_cache

$(READY): requirements.lock pyproject.toml scripts/setup scripts/etcd
	@scripts/setup $(VENV)
	@touch $@
