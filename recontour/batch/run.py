"""The batch itself: hands tasks out, writes down what could not be done, and ends with the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from recontour.batch.outcome import Outcome
from recontour.batch.plan import Plan
from recontour.batch.state import held, write_failure
from recontour.batch.table import TABLE, Row, rows_of, write_table
from recontour.batch.task import Task

Outcomes = Callable[[Sequence[Task]], Iterator[Outcome]]


def run_batch(
    plan: Plan, outcomes: Outcomes, retry_failed: bool = False, on_outcome: Callable[[Outcome], None] | None = None
) -> tuple[Row, ...]:
    """Does what is to do, and writes OUT/fractions.csv; what there is now, of all fractions.

    outcomes: who does the tasks (overlap.outcomes, or cluster.outcomes with a client). A fraction that cannot be done
    never stops the rest. Raises OutputRefused where another batch is at work in the folder or it cannot be written to.
    """
    to_do = plan.to_do(retry_failed)
    tasks = {(task.patient, task.name): task for task in to_do}
    passing: dict[tuple[str, str], Outcome] = {}
    with held(plan.out, plan.key_mark):
        for outcome in outcomes(to_do):
            key = outcome.patient, outcome.name
            if outcome.failed and outcome.passing:
                passing[key] = outcome
            elif outcome.failed:
                write_failure(tasks[key], outcome)
            if on_outcome:
                on_outcome(outcome)
        rows = tuple(rows_of(plan, passing))
        write_table(plan.out / TABLE, rows)
    return rows
