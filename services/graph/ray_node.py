"""A Ray of the graph's own on this machine."""

import logging

import ray

_ATTEMPTS = 3
_OBJECT_STORE_BYTES = 128 << 20
_log = logging.getLogger("kino.graph")


def start_ray() -> None:
    """Start a Ray of our own; again where a part of it was not up within Ray's half minute on a busy machine.

    Raises: what Ray raised at the last attempt. It has no error type for lateness: each part that waits for another
    raises an `Exception` or a `RuntimeError` with words of its own.
    """
    for left in reversed(range(_ATTEMPTS)):
        try:
            ray.init(  # "local": never a Ray that somebody else runs here, whose applications `stop` would end
                "local", include_dashboard=False, log_to_driver=False, object_store_memory=_OBJECT_STORE_BYTES
            )
            return
        except Exception as error:
            ray.shutdown()
            if not left:
                raise
            _log.warning("ray did not start, starting it again: %s", error)
