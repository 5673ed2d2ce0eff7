"""Portkey's open-source AI gateway (npm `@portkey-ai/gateway`) on a loopback port, to be measured beside.

It is installed once, at a pinned version, into this user's cache, and run as its maintainers run it
(`node build/start-server.js --headless`). It knows no option for the address that it listens on and would take every
interface, so a line that is loaded before it holds it to loopback and prints the port.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

import platformdirs

from bench.process import Server

PACKAGE: Final = "@portkey-ai/gateway"
VERSION: Final = "1.15.2"
NAME: Final = "portkey"

PINNED: Final = {"hono": "4.13.19", "@hono/node-server": "1.13.8"}
"""What it runs on. With node-server 1.14 and later this version answers every call with 500: `TypeError: immutable`."""

INSTALL_WITHIN_S: Final = 240.0

_TO_LOOPBACK: Final = """\
const net = require('net');
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...given) {
  this.once('listening', () => {
    console.log(JSON.stringify({ targets: { portkey: `127.0.0.1:${this.address().port}` } }));
  });
  return listen.call(this, { port: 0, host: '127.0.0.1', backlog: 1024 });
};
"""


class GatewayMissing(RuntimeError):
    """It cannot be installed here; the text says why."""


def installed(cache: Path | None = None) -> Path:
    """Where its program is, after installing it where it was not. GatewayMissing."""
    folder = cache or Path(platformdirs.user_cache_dir("selene")) / "bench" / f"portkey-{VERSION}"
    program = folder / "node_modules" / PACKAGE / "build" / "start-server.js"
    if program.is_file():
        return program
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise GatewayMissing("there is no node or no npm")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {"private": True, "dependencies": {PACKAGE: VERSION}, "overrides": PINNED}
    (folder / "package.json").write_text(json.dumps(wanted), encoding="utf-8")
    command = (npm, "install", "--no-audit", "--no-fund", "--ignore-scripts")
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=INSTALL_WITHIN_S)
    except subprocess.CalledProcessError as error:
        raise GatewayMissing(f"npm could not install it: {_last_line(error.stderr)}") from None
    except subprocess.TimeoutExpired:
        raise GatewayMissing(f"npm did not install it within {INSTALL_WITHIN_S:.0f} s") from None
    return program


def served(program: Path, work_dir: Path) -> Server:
    """The gateway, to be entered."""
    preload = work_dir / "loopback.cjs"
    preload.write_text(_TO_LOOPBACK, encoding="utf-8")
    node = shutil.which("node")
    if node is None:
        raise GatewayMissing("there is no node")
    environment = ("env", "NODE_ENV=production", f"NODE_OPTIONS=--require={preload}")
    return Server((*environment, node, str(program), "--port=8787", "--headless"), work_dir / "portkey.log")


def headers(backend: str) -> dict[str, str]:
    """Headers of a call that it forwards to an OpenAI-compatible backend at `host:port`."""
    return {
        "Authorization": "Bearer none",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://{backend}/v1",
    }


def node_version() -> str:
    """What runs it."""
    return subprocess.run(("node", "--version"), check=True, capture_output=True, text=True).stdout.strip()


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
