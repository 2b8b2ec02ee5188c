"""What stages have already made: results and checkpoints in the store, by the digest of all that decides them.

Caching, going on after a crash and replay are this one mechanism: a stage whose result is here is not run again.
"""

import hashlib
import logging

from google.protobuf.message import DecodeError, Message

from kino.store import NotFoundError, Store
from kino.v1 import generator_pb2, info_pb2
from services.graph.calls import Call
from services.graph.pipeline import contents

# Fields that change how a result comes, not what it is.
_UNDECIDING = ("delivery", "checkpoint_every", "checkpoint_seconds", "resume_from")
_log = logging.getLogger("kino.graph")


def stage_key(call: Call, request: Message, info: info_pb2.Info, salt: str = "") -> str:
    """Return the SHA-256 of what decides a stage's result: the call, its inputs, the model and software versions.

    Args:
        request: with every input bound; large contents by uri, that is by content.
        salt: anything but "" keeps the result apart from everybody else's.
    """
    deciding = type(request)()
    deciding.CopyFrom(request)
    for field in _UNDECIDING:
        if field in deciding.DESCRIPTOR.fields_by_name:
            deciding.ClearField(field)
    digest = hashlib.sha256()
    for part in (call.name, info.digest, info.software, salt, *info.approximations):
        digest.update(len(part).to_bytes(4) + part.encode())
    digest.update(deciding.SerializeToString(deterministic=True))
    return digest.hexdigest()


class StageCache:
    """Results and checkpoints of stages in a store. Every method blocks on files."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self, key: str, result: type[Message]) -> Message | None:
        """Return the result under a key, or None where there is none or something it refers to is gone."""
        return self._read(f"stages/{key}", result)

    def save(self, key: str, result: Message) -> None:
        """Keep a result, and let go of the checkpoint on the way to it; what a stand-in gave is good for once."""
        if getattr(result, "fallback_reason", ""):
            return
        self._store.records.write(f"stages/{key}", result.SerializeToString())
        self._forget_sample(self._checkpoint(key), result)
        self._store.records.delete(f"checkpoints/{key}")

    def load_checkpoint(self, key: str) -> generator_pb2.Checkpoint | None:
        """Return the last checkpoint under a key, or None where there is none or its sample is gone."""
        found = self._read(f"checkpoints/{key}", generator_pb2.Checkpoint)
        return found if isinstance(found, generator_pb2.Checkpoint) else None

    def save_checkpoint(self, key: str, checkpoint: generator_pb2.Checkpoint) -> None:
        """Keep a checkpoint in place of the one before."""
        before = self._checkpoint(key)
        self._store.records.write(f"checkpoints/{key}", checkpoint.SerializeToString())
        self._forget_sample(before, checkpoint)

    def _checkpoint(self, key: str) -> generator_pb2.Checkpoint | None:
        value = self._store.records.read(f"checkpoints/{key}")
        return None if value is None else generator_pb2.Checkpoint.FromString(value)

    def _forget_sample(self, before: generator_pb2.Checkpoint | None, after: Message) -> None:
        """Delete a sample and the history beside it unless what comes after is the same; who shared it begins anew."""
        for uri in set(_uris(before)) - set(_uris(after)) if before is not None else ():
            try:
                self._store.delete(uri)
            except NotFoundError:
                _log.info("a checkpoint was gone already", extra={"uri": uri})

    def _read(self, name: str, kind: type[Message]) -> Message | None:
        value = self._store.records.read(name)
        if value is None:
            return None
        try:
            message = kind.FromString(value)
        except DecodeError:
            _log.warning("a record is damaged and will be made again", extra={"record": name})
            return None
        return message if all(self._store.exists(uri) for uri in _uris(message)) else None


def _uris(message: Message) -> list[str]:
    return [content.uri for content, _ in contents(message, "") if content.WhichOneof("content") == "uri"]
