PY := .venv/bin/python
.PHONY: gen
gen:
	$(PY) proto/tools/fetch_validate.py
	PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/buf generate
