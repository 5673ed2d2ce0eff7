"""`buf breaking` of the working tree against main; on main itself, against the commit before.

buf reads a git reference on its own, but the module of `validate.proto` is not in git: main's contracts are laid out in
a temporary folder beside the same module, and both sides are compared as built images.
"""

import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile

BASES = ("origin/main", "main")
# The `breaking` part of buf.yaml: an image carries no configuration of its own.
RULES = '{"version": "v2", "breaking": {"use": ["FILE"], "ignore_unstable_packages": true}}'
MODULE = pathlib.Path(".cache/protovalidate")


def main(buf: str) -> int:
    base = _base()
    if base is None or _git("cat-file", "-e", f"{base}:buf.yaml").returncode:
        print("breaking: NOTHING WAS COMPARED, there is no main here, or no commit before it: git fetch origin main")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        before = pathlib.Path(folder)
        archive = _git("archive", base, "proto", "buf.yaml").stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as contracts:
            contracts.extractall(before, filter="data")
        (before / ".cache").mkdir()
        (before / MODULE).symlink_to(MODULE.resolve())
        images = {}
        for name, tree in (("now", pathlib.Path.cwd()), ("main", before)):
            images[name] = before / f"{name}.binpb"
            subprocess.run([pathlib.Path(buf).resolve(), "build", "-o", images[name]], cwd=tree, check=True)
        compare = [buf, "breaking", images["now"], "--against", images["main"], "--config", RULES]
        return subprocess.run(compare, check=False).returncode


def _base() -> str | None:
    """What was promised before: main, or where that is what is checked out, its first parent."""
    found = next((name for name in BASES if _commit(name)), None)
    if found is not None and _commit(found) == _commit("HEAD"):
        found = "HEAD^"
    return found if found is not None and _commit(found) else None


def _commit(name: str) -> bytes:
    """Its hash; empty where there is none."""
    asked = _git("rev-parse", "-q", "--verify", f"{name}^{{commit}}")
    return asked.stdout.strip() if asked.returncode == 0 else b""


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], capture_output=True, check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
