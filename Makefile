PY := .venv/bin/python
gen: .cache/protovalidate
	PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/buf generate
.cache/protovalidate:
	$(PY) proto/tools/fetch_validate.py
