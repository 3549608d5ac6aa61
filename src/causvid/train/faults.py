"""Losses that are not finite: the update is left out and counted, and too many in a row end the run."""

import math

from causvid.errors import UserError
from causvid.train.runs import Run

NON_FINITE_LIMIT = 10
"""Updates of a role in a row with a non-finite loss after which a run stops."""


class Faults:
    """Updates that were left out because their loss or gradient was not finite."""

    def __init__(self, skipped: int) -> None:
        self.skipped = skipped
        self._in_a_row: dict[str, int] = {}

    def note(self, role: str, norm: float, step: int, run: Run) -> bool:
        """Whether the update with this gradient norm was made.

        Raises:
            UserError: the role has not made one for long.
        """
        if math.isfinite(norm):
            self._in_a_row[role] = 0
            return True
        self.skipped += 1
        self._in_a_row[role] = count = self._in_a_row.get(role, 0) + 1
        if count >= NON_FINITE_LIMIT:
            raise UserError(
                f"the {role}'s loss was not finite {count} times in a row, up to step {step}; those updates "
                "were skipped. Lower the learning rate, or go back to an earlier checkpoint in "
                f"{run.checkpoints}."
            )
        return False
