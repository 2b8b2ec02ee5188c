"""The flags that say what a training job is."""

import argparse
import re

from training.job import Job
from training.recipes import RECIPES


def job_of(given: argparse.Namespace) -> Job:
    """Return the job that flags ask for; one without a recipe is what the stages of a pipeline have in common.

    Raises:
        ValueError: a flag is wrong.
    """
    chosen = dict(_pair(text) for text in given.node_selector)
    fields = {name: getattr(given, name) for name in Job.__dataclass_fields__ if name in given}
    name = given.name or re.sub(r"[^a-z0-9-]", "-", given.recipe)
    return Job(
        **{"recipe": "", **fields, "name": name, "node_selector": chosen, "tolerations": tuple(given.tolerations)}
    )


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (name and separator):
        raise ValueError(f"--node-selector is {text!r}, must be of the form LABEL=VALUE")
    return name, value


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a job that is one run."""
    add = parser.add_argument
    add("--recipe", required=True, choices=sorted(RECIPES), metavar="RECIPE", help="row of training/recipes.py")
    add("--name", help="of the job (the recipe's, with dashes)")
    add("--publish", default="", metavar="VERSION", help="publish the result, and move the alias candidate to it")


def add_job(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every job has."""
    add = parser.add_argument
    add("--image", required=True, help="image with kino's extras train and s3")
    add("--store", required=True, metavar="URL", help="s3://bucket for checkpoints and curves")
    add("--nodes", type=int, default=1, help="machines (%(default)s)")
    add("--gpus-per-node", type=int, default=0, help="0 computes on CPUs (%(default)s)")
    add("--workers-per-node", type=int, default=1, help="without GPUs (%(default)s)")
    add("--min-nodes", type=int, help="go on with as few machines as this")
    add("--max-restarts", type=int, default=3, help="of workers that died (%(default)s)")
    add("--cpus", default="4", help="of each pod (%(default)s)")
    add("--memory", default="16Gi", help="of each pod (%(default)s)")
    add("--models", default="", metavar="URL", help="s3://bucket of the registry to publish to")
    add("--secret", default="", metavar="NAME", help="secret with the keys of the buckets")
    add("--service-account", default="default", help="of the pods (%(default)s)")
    add("--queue", default="", help="queue of Kueue: the job waits until there is room for all of it")
    add("--suspend", action="store_true", help="create it without starting it")
    add("--gang", action="store_true", help="place all pods or none")
    add("--priority", default="", metavar="CLASS", help="priority class of the pods")
    add("--node-selector", action="append", default=[], metavar="LABEL=VALUE", help="only on machines with this label")
    add("--tolerations", action="append", default=[], metavar="KEY", help="also on machines with this taint")
    add("--deadline-seconds", type=int, help="end the job after so long")
