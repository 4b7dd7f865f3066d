"""The functions that are run as tasks. Importable, so that no contender pays for pickling them."""


def no_op() -> None:
    """Do nothing: what is measured is everything else."""
