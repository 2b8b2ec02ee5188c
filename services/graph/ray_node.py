"""A Ray of the graph's own on this machine."""

import logging

import ray

_ATTEMPTS = 3
_OBJECT_STORE_BYTES = 128 << 20
_log = logging.getLogger("kino.graph")


def start_ray() -> None:
    """Start a Ray of our own; again where it ran out of the half minute that Ray gives its node on a busy machine."""
    for left in reversed(range(_ATTEMPTS)):
        try:
            ray.init(  # "local": never a Ray that somebody else runs here, whose applications `stop` would end
                "local", include_dashboard=False, log_to_driver=False, object_store_memory=_OBJECT_STORE_BYTES
            )
            return
        except Exception as error:  # Ray raises bare Exception when its node is late
            ray.shutdown()
            if not left or "timed out during startup" not in str(error):
                raise
            _log.warning("ray was not up in time, starting it again: %s", error)
