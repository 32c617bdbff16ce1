"""{{name}}: a task goes to the session that stands in its directory, or on its branch.

The contract is `wit/policy.wit`. A policy is a pure function: the same tasks, sessions and
settings always give the same decisions. It has no clock, no files and no network. Each round runs
in a fresh instance, so that no variable keeps anything for the next one.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.matching import Description
from wit_world.imports import logging
from wit_world.imports.types import (
    Choice,
    Decision_Assign,
    Decision_Wait,
    Postponement,
    Ranking,
    Term,
)

# Every setting at its default, in points.
DEFAULTS = {"directory": 100, "branch": 30}
MOST = 1000

# What a session loses where an earlier try of the task failed: more than it can gain.
FAILED_HERE = -10_000


class Matching(exports.Matching):
    """What the host calls: `describe` once, then `configure` and `assign` in each round."""

    # On the class, since each call comes to a new object.
    settings = DEFAULTS

    def describe(self):
        return Description(
            name="{{name}}",
            version="0.1.0",
            summary="gives a task to the session in its directory or on its branch",
            default_config=json.dumps(DEFAULTS),
            wants_busy=False,
        )

    def configure(self, config):
        Matching.settings = read_settings(config)

    def assign(self, round, tasks, sessions):
        try:
            return decide(self.settings, round, tasks, sessions)
        except Exception as error:
            # The host sees only that the policy stopped. This line says why and where.
            logging.log(logging.Level.ERROR, f"{error!r} in line {line_of(error)}")
            raise


def decide(settings, round, tasks, sessions):
    """Gives each task in its turn the best session that is still free."""
    # At equal points the session that has been idle longest is taken: sorting keeps this order.
    free = [position for position, session in enumerate(sessions) if session.ready]
    free.sort(key=lambda position: (-sessions[position].since, sessions[position].name))

    decisions = []
    for task in tasks:
        candidates = free
        if task.eligible is not None:
            allowed = set(task.eligible)
            candidates = [position for position in free if position in allowed]
        if not candidates:
            reason = "every session that it may use is busy, or was given to a task before it"
            decisions.append(Decision_Wait(Postponement(reason, others=[])))
            continue

        found = {p: terms_for(settings, task, p, sessions[p]) for p in candidates}
        best = sorted(candidates, key=lambda p: -total(found[p]))
        # The round says how many rankings are kept as the explanation, the chosen one among them.
        best = best[: max(round.explain, 1)]
        take, *others = [Ranking(p, total(found[p]), found[p]) for p in best]
        decisions.append(Decision_Assign(Choice(take, others)))
        free.remove(take.session)
    return decisions


def terms_for(settings, task, position, session):
    """What the points of a session for a task are made of. The names are shown to people."""
    wanted = task.context
    terms = []
    # A task that was sent with `--no-context-match` asks for any session.
    if task.match_context:
        if wanted.working_dir is not None and wanted.working_dir == session.current_dir:
            terms.append(Term("same directory", settings["directory"]))
        if wanted.git_branch is not None and wanted.git_branch == session.git_branch:
            terms.append(Term(f"branch {wanted.git_branch}", settings["branch"]))
    if position in task.avoid:
        terms.append(Term("an earlier try failed here", FAILED_HERE))
    return terms


def total(terms):
    # Called for each pair of a task and a session; a list is faster here than a generator.
    return sum([term.points for term in terms])


def read_settings(config):
    """Reads the user's settings. An error names the setting and what it may be."""
    known = " and ".join(f"`{name}`" for name in DEFAULTS)
    try:
        given = json.loads(config)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise Err(f"the settings must be a JSON object of {known}")
    for name, value in given.items():
        if name not in DEFAULTS:
            raise Err(f"there is no setting `{name}`; there are {known}")
        # In Python, True is a whole number.
        if type(value) is not int or not 0 <= value <= MOST:
            raise Err(f"`{name}` must be a whole number from 0 to {MOST}")
    return DEFAULTS | given


def line_of(error):
    """The line of this file, or of what it called, in which an error was raised."""
    place = error.__traceback__
    while place.tb_next is not None:
        place = place.tb_next
    return place.tb_lineno
