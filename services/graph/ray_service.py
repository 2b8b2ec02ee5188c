"""The graph as a RayService of KubeRay runs it: `import_path: services.graph.ray_service:application`.

What the `args` of the Serve configuration say are settings of the services' command line; the ledger's URL, which holds
a password, is in $KINO_LEDGER.
"""

import os
from typing import Any

from ray import serve

from kino.registry import models_folder
from services.graph.app import Scale, build
from services.service import ServiceConfig

_NEEDED = ("preset", "store", "peers")
_KNOWN = (*_NEEDED, "version", "models", "queue", "directors", "patience_seconds")


def application(args: dict[str, Any]) -> serve.Application:
    """Return the Serve application of a graph.

    Args:
        args: preset, store, and `host:port` of each service in peers; where wanted, version (the preset's name), models
            (those of the image), queue, patience_seconds, and how many directors run generations.

    Raises:
        ValueError: one of them is missing, unknown or wrong, or $KINO_LEDGER is empty.
    """
    if odd := [name for name in _NEEDED if name not in args] + [name for name in args if name not in _KNOWN]:
        raise ValueError(
            f"args are {', '.join(args)}, must have {', '.join(_NEEDED)} and of {', '.join(_KNOWN)}: {odd}"
        )
    ledger = os.environ.get("KINO_LEDGER", "")
    if not ledger:
        raise ValueError("KINO_LEDGER is empty, must be the URL of the ledger, for example postgresql://host/kino")
    config = ServiceConfig(
        preset=args["preset"],
        version=args.get("version") or args["preset"],
        store=args["store"],
        models=args.get("models") or models_folder(),
        queue=int(args.get("queue", 16)),
        peers=dict(args["peers"]),
        ledger=ledger,
        patience_seconds=float(args.get("patience_seconds", ServiceConfig.patience_seconds)),
    )
    return build(config, Scale(directors=int(args.get("directors", 1))))
