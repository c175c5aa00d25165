# reelflow: `make help` lists what there is. Each target does its own set-up.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
AIRFLOW_BIN := .venv-airflow/bin
CODE := conf schemas models jobs serving dags scripts benchmarks tests
PYTEST_ARGS ?=
# Processes that share the tests: each wants a core and 4 GB.
TEST_PROCESSES ?= 2
# Containers often set it; each of the many short processes would then compile reelflow anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help set-up set-up-reelflow run up serve rollback test test-airflow test-quick lint audit format bench bench-quality tune fuzz docs lock clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

set-up: ## Install both environments (every command does it by itself)
	@$(PYTHON) scripts/set_up.py

set-up-reelflow:
	@$(PYTHON) scripts/set_up.py java reelflow

run: set-up ## Logs to recommendations, by Airflow [RAW=DIR AS_OF=ISO WORKSPACE=DIR LOOKBACK_DAYS=N FORCE=1]
	@$(BIN)/python scripts/run.py --raw "$(RAW)" --as-of "$(AS_OF)" --workspace "$(WORKSPACE)" \
		--lookback-days "$(LOOKBACK_DAYS)" --force "$(FORCE)"

up: set-up ## Airflow with its UI at http://127.0.0.1:8080 [WORKSPACE=DIR PORT=N]
	@$(if $(WORKSPACE),REELFLOW_HOME="$(abspath $(WORKSPACE))") $(if $(PORT),PORT="$(PORT)") $(BIN)/python scripts/up.py

serve: set-up-reelflow ## Recommendations over HTTP, and a page to look at them: http://127.0.0.1:8090 [WORKSPACE=DIR PORT=N AT=ISO]
	@$(if $(WORKSPACE),REELFLOW_HOME="$(abspath $(WORKSPACE))") $(BIN)/python -m serving.http --page $(if $(PORT),--port "$(PORT)") \
		$(if $(AT),--at "$(AT)")

rollback: set-up-reelflow ## The publication before is live again, models and index with it [REASON="..." BY=WHO TO=VERSION WORKSPACE=DIR]
	@$(if $(WORKSPACE),REELFLOW_HOME="$(abspath $(WORKSPACE))") $(BIN)/python -m jobs.rollback --reason "$(REASON)" \
		$(if $(BY),--by "$(BY)") $(if $(TO),--to-version "$(TO)")

test: set-up ## All tests [PYTEST_ARGS=... TEST_PROCESSES=N]
	$(AIRFLOW_BIN)/python -m pytest tests/dags --confcutdir=tests/dags -n $(TEST_PROCESSES) --dist worksteal $(PYTEST_ARGS)
	$(AIRFLOW_BIN)/python -m pytest tests/airflow --confcutdir=tests/airflow -m "not long" $(PYTEST_ARGS)
	$(BIN)/python -m pytest tests --ignore=tests/dags --ignore=tests/airflow -n $(TEST_PROCESSES) $(PYTEST_ARGS)

test-airflow: set-up ## The long tests of a whole Airflow: real stages, a browser (half an hour)
	$(AIRFLOW_BIN)/python -m pytest tests/airflow --confcutdir=tests/airflow -m long $(PYTEST_ARGS)

test-quick: set-up-reelflow ## Tests without Spark, Airflow and slow ones
	$(BIN)/python -m pytest tests --ignore=tests/dags --ignore=tests/airflow -m "not spark and not slow and not airflow" \
		-n $(TEST_PROCESSES) $(PYTEST_ARGS)

lint: set-up-reelflow ## Formatting, style, types, layers
	$(BIN)/ruff format --check $(wildcard $(CODE))
	$(BIN)/ruff check $(wildcard $(CODE))
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: set-up-reelflow ## Known vulnerabilities of the locked packages
	@$(BIN)/python scripts/audit.py

format: set-up-reelflow ## Put the code into the form that lint expects
	$(BIN)/ruff format $(wildcard $(CODE))
	$(BIN)/ruff check --fix $(wildcard $(CODE))

bench: set-up-reelflow ## Measure; prints a table and JSON
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

bench-quality: set-up-reelflow ## Quality beside tuned baselines [RAW=DIR AS_OF=ISO HOLDOUT=DIR SEEDS=N,N TRIALS=N MODELS=A,B WORKSPACE=DIR]
	$(BIN)/python -m benchmarks.quality --raw "$(RAW)" --as-of "$(AS_OF)" --holdout "$(HOLDOUT)" \
		--seeds "$(SEEDS)" --trials "$(TRIALS)" --models "$(MODELS)" --workspace "$(WORKSPACE)"

tune: set-up-reelflow ## Search settings on the validation split [MODEL=wals|retrieval|ranker AS_OF=ISO TRIALS=N MINUTES=N ALSO="HOME@ISO .." WORKSPACE=DIR]
	$(if $(WORKSPACE),REELFLOW_HOME="$(abspath $(WORKSPACE))") $(BIN)/python -m jobs.tune --model "$(MODEL)" --as-of "$(AS_OF)" \
		$(if $(TRIALS),--trials "$(TRIALS)") $(if $(MINUTES),--minutes "$(MINUTES)") $(if $(ALSO),--also $(ALSO))

fuzz: set-up-reelflow ## Damage 10,000 raw files, kill stages at every write (half an hour) [FILES=N SEED=N]
	REELFLOW_FUZZ_FILES=$(or $(FILES),10000) REELFLOW_FUZZ_SEED=$(or $(SEED),0) REELFLOW_KILLS=all \
		$(BIN)/python -m pytest -s tests/jobs/reading/test_fuzz.py tests/jobs/test_kills.py $(PYTEST_ARGS)

docs: set-up ## Write docs/DAGS.md from the DAGs and docs/data.md from the schemas
	@$(AIRFLOW_BIN)/python scripts/generate_dags_page.py
	@$(BIN)/python scripts/generate_data_page.py

lock: ## Resolve requirements/*.in anew and write the locks
	$(PYTHON) scripts/lock.py reelflow
	$(PYTHON) scripts/lock.py airflow

clean: ## Remove caches and both environments; workspaces (var*) stay
	rm -rf .venv .venv-airflow build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './var*' -prune -exec rm -rf {} +
