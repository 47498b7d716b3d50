"""Whether a dataset's coefficients mean what a FLAME program takes them for."""

from __future__ import annotations

from dialogbuild.dataset.exporters.job import Job
from dialogbuild.errors import ConfigError

_FLAME = "flame"  # how model ids of all FLAME releases begin


def require_flame(job: Job, consumer: str, n_expr: int, n_shape: int = 0) -> None:
    """Refuse another head model unless that was asked for; tell what widths lose.

    FLAME's components are ordered by variance, so the leading ones are the coefficients of a smaller fit, and zeros
    are what a smaller fit says of the others. Coefficients of another model have no such meaning.

    Raises:
        ConfigError: the labels are of another head model.
    """
    head = job.dataset.info["head_model"]
    if head is None:
        raise ConfigError("the dataset is empty: it has no head model and nothing to export")
    model = str(head["model_id"])
    job.facts["coefficients"] = {"model_id": model, "n_expr_written": n_expr, "n_shape_written": n_shape}
    if not model.startswith(_FLAME):
        if not job.options.allow_other_head:
            raise ConfigError(
                f"the labels are coefficients of {model}, and {consumer} takes them for FLAME's: every face would be "
                f"wrong. Fit again with FLAME (dialogbuild run RECIPE SRC --head flame2023.pkl --out NEW), or, only to "
                "try your code, give --allow-other-head: the numbers are then cut or padded to the width"
            )
        job.lose(
            f"**Wrong on purpose**: coefficients of {model} ({head['n_expr']} expressions) were cut or padded to "
            f"{n_expr}, as --allow-other-head asked. Only shapes and files are right; never train on this."
        )
        return
    job.lose(f"Coefficients are of {model}; give {consumer} that very model file, releases of FLAME differ.")
    for kind, have, want in (("expression", head["n_expr"], n_expr), ("shape", head["n_shape"], n_shape)):
        if want and have > want:
            job.lose(f"{kind} components {want} to {have - 1}")
        elif want > have:
            job.lose(f"{kind} components {have} to {want - 1} were not fitted and are 0")
