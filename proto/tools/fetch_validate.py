"""Bring ``buf/validate/validate.proto`` at a pinned version into ``.cache/protovalidate``.

No Python wheel ships this file, and the Buf registry is not reachable from everywhere. The published Go module
holds it; the Go client checks the module against its own checksum, and the file is checked again here.
"""

import hashlib
import json
import pathlib
import shutil
import subprocess
import sys

MODULE = "github.com/bufbuild/protovalidate@v1.2.2"
PATH_IN_MODULE = "proto/protovalidate/buf/validate/validate.proto"
SHA256 = "a1dc1163ebac930b3b070655b91f2bc78df8b4aea940021661fe5ec7904a7b88"
TARGET = pathlib.Path(".cache/protovalidate/buf/validate/validate.proto")


def main() -> int:
    if TARGET.exists() and _sha256(TARGET) == SHA256:
        return 0
    go = shutil.which("go")
    if go is None:
        print("fetch_validate: needs the `go` command (Debian: apt-get install golang-go)", file=sys.stderr)
        return 2
    told = subprocess.run([go, "mod", "download", "-json", MODULE], capture_output=True, text=True, check=False)
    if told.returncode:
        print(f"fetch_validate: go mod download failed:\n{told.stdout}{told.stderr}", file=sys.stderr)
        return 1
    source = pathlib.Path(json.loads(told.stdout)["Dir"], PATH_IN_MODULE)
    if (found := _sha256(source)) != SHA256:
        print(f"fetch_validate: {source} has sha256 {found}, expected {SHA256}", file=sys.stderr)
        return 1
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(source.read_bytes())
    return 0


def _sha256(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
