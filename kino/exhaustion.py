"""How Python and torch say that memory ran out; torch is not needed to tell."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, in Python's words or torch's: OutOfMemoryError on a GPU, a RuntimeError on a CPU."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
