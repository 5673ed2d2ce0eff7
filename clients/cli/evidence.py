"""What `selene audit` writes and reads as files: a signed checkpoint, and the proofs about it where there are any."""

import json
import re
from pathlib import Path
from typing import Any, Final, TypeVar

import betterproto2
from google.protobuf import json_format
from google.protobuf.message import Message
from selene.audit.v1 import service_pb2 as wire
from selene_messages.selene.audit import v1

from clients.cli.documents import DocumentUnusable, in_words
from clients.proof import Evidence
from clients.wire import to_document, to_message

D = TypeVar("D", bound=betterproto2.Message)
_KEY: Final = re.compile(r"[0-9a-fA-F]{64}")


def document(evidence: Evidence) -> dict[str, Any]:
    """The evidence as JSON; `read` reads it back. Without proofs it reads as `audit checkpoint --json` prints it."""
    signed = v1.GetCheckpointResponse(checkpoint=evidence.checkpoint, public_key=evidence.public_key)
    proofs = {"inclusion": evidence.inclusion, "consistency": evidence.consistency}
    return to_document(signed) | {name: to_document(proof) for name, proof in proofs.items() if proof is not None}


def read(file: Path) -> Evidence:
    """The evidence in a file. DocumentUnusable, OSError."""
    try:
        text = file.read_text(encoding="utf-8")
        if not text.strip():
            raise DocumentUnusable(f"{file} is empty: was what should have written it refused?")
        held = json.loads(text)
        if not isinstance(held, dict) or not isinstance(held.get("checkpoint"), dict):
            raise DocumentUnusable(f"{file}: no checkpoint is in it; `selene audit checkpoint export` writes one")
        inclusion, consistency = held.pop("inclusion", None), held.pop("consistency", None)
        for name, proof in (("inclusion", inclusion), ("consistency", consistency)):
            if not isinstance(proof, dict | None):
                raise DocumentUnusable(f"{file}: `{name}` is no object")
        signed = _message(held, wire.GetCheckpointResponse, v1.GetCheckpointResponse)
        return Evidence(
            signed.checkpoint or v1.Checkpoint(),
            signed.public_key,
            _message(inclusion, wire.GetInclusionProofResponse, v1.GetInclusionProofResponse) if inclusion else None,
            _message(consistency, wire.GetConsistencyProofResponse, v1.GetConsistencyProofResponse)
            if consistency
            else None,
        )
    except RecursionError:
        raise DocumentUnusable(f"{file}: nested too deep") from None
    except (json_format.ParseError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DocumentUnusable(f"{file}: {in_words(error)}") from None


def read_key(given: str) -> bytes:
    """The public key in 64 hexadecimal digits, or in the checkpoint file of that name. DocumentUnusable, OSError."""
    if _KEY.fullmatch(given):
        return bytes.fromhex(given)
    file = Path(given)
    if not file.is_file():
        raise DocumentUnusable(f"{given!r} is neither a key of 64 hexadecimal digits nor the file of a checkpoint")
    return read(file).public_key


def _message(held: Any, wire_kind: type[Message], kind: type[D]) -> D:
    return to_message(json_format.ParseDict(held, wire_kind()), kind)
