"""spread: evens out the work of several hosts, and of the sessions of each.

A task goes to the host on which the smallest share of the sessions is busy. What the session
offers to the task's context counts beside that, with a weight of its own: see README.md.
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

DEFAULTS = {"most-busy-percent": 100, "context-weight": 10, "host-label": "host"}

# What counts in a task's context, in the points of the default policy.
SAME_DIRECTORY = 100
PARENT_DIRECTORY = 50
CHILD_DIRECTORY = 25
BRANCH = 30
VARIABLE = 20
# More variables than these add nothing.
MOST_VARIABLES = 20

# How many hosts a reason names, and how many characters of a name are shown.
NAMED = 3
SHOWN = 40


class Matching(exports.Matching):
    """What the host calls: `describe` once, then `configure` and `assign` in each round."""

    # On the class, since each call comes to a new object.
    settings = DEFAULTS

    def describe(self):
        return Description(
            name="spread",
            version="0.1.0",
            summary="gives a task to the host on which the smallest share of sessions is busy",
            default_config=json.dumps(DEFAULTS),
            # The busy ones are what a host's share is counted from.
            wants_busy=True,
        )

    def configure(self, config):
        Matching.settings = read_settings(config)

    def assign(self, round, tasks, sessions):
        try:
            return Spread(self.settings, sessions).decide(tasks, round.explain)
        except Exception as error:
            # The host sees only that the policy stopped. This line says why and where.
            logging.log(logging.Level.ERROR, f"{error!r} in line {line_of(error)}")
            raise


class Machine:
    """A host and how many of its sessions are busy, with those given away in this round."""

    def __init__(self, name, most_busy_percent):
        self.name = shown(name) or "this host"
        self.most_busy_percent = most_busy_percent
        self.sessions = 0
        self.busy = 0

    def count(self):
        """Notes what follows from the numbers: it is asked for much more often than they change."""
        self.percent_free = (self.sessions - self.busy) * 100 // self.sessions
        self.is_full = self.busy * 100 >= self.sessions * self.most_busy_percent
        self.share = f"{self.name} has {self.busy} of {self.sessions} sessions busy"


class Spread:
    """One round."""

    def __init__(self, settings, sessions):
        self.most_busy = settings["most-busy-percent"]
        self.sessions = sessions
        self.surroundings = Surroundings(settings["context-weight"], sessions)

        machines = {}
        # The machine of each session, by its position.
        self.machine = []
        for session in sessions:
            name = host_of(session, settings["host-label"])
            if name not in machines:
                machines[name] = Machine(name, self.most_busy)
            machines[name].sessions += 1
            machines[name].busy += not session.ready
            self.machine.append(machines[name])
        for machine in machines.values():
            machine.count()

    def decide(self, tasks, explain):
        """Gives each task in its turn the best session that is free, on a host that is not full."""
        # At equal points the session that has been idle longest is taken: sorting keeps this order.
        free = [position for position, session in enumerate(self.sessions) if session.ready]
        free.sort(key=lambda p: (-self.sessions[p].since, self.sessions[p].name))

        decisions = []
        for task in tasks:
            allowed = free
            if task.eligible is not None:
                eligible = set(task.eligible)
                allowed = [p for p in free if p in eligible]
            open_ones = [p for p in allowed if not self.machine[p].is_full]
            if not open_ones:
                others = self.ranked(task, allowed, explain)
                decisions.append(Decision_Wait(Postponement(self.reason(allowed), others)))
                continue
            # The chosen one is always there, asked for or not.
            take, *others = self.ranked(task, open_ones, max(explain, 1))
            decisions.append(Decision_Assign(Choice(take, others)))
            free.remove(take.session)
            machine = self.machine[take.session]
            machine.busy += 1
            machine.count()
        return decisions

    def ranked(self, task, positions, at_most):
        """At most so many rankings, the best first."""
        if at_most == 0:
            return []
        context = self.surroundings.terms(task)
        points = {p: self.machine[p].percent_free for p in positions}
        for p, terms in context.items():
            if p in points:
                for term in terms:
                    points[p] += term.points

        best = sorted(positions, key=points.get, reverse=True)
        if task.providers:
            # The sender's order of preference comes before all points.
            place = {name: place for place, name in enumerate(task.providers)}
            best.sort(key=lambda p: place.get(self.sessions[p].provider, len(place)))
        if task.avoid:
            # An earlier try failed there: the last choice.
            best.sort(key=lambda p: p in task.avoid)

        rankings = []
        for p in best[:at_most]:
            machine = self.machine[p]
            terms = [Term(machine.share, machine.percent_free), *context.get(p, [])]
            rankings.append(Ranking(p, points[p], terms))
        return rankings

    def reason(self, allowed):
        """Why a task waits that has these sessions: they are free, and their hosts are full."""
        if not allowed:
            return "every session that it may use is busy, or was given to a task before it"
        full = dict.fromkeys(self.machine[p] for p in allowed)
        shares = [machine.share for machine in full]
        if len(shares) > NAMED:
            shares[NAMED:] = [f"and so on for {len(shares) - NAMED} more"]
        return f"its hosts are {self.most_busy} % busy or more: {', '.join(shares)}"


class Surroundings:
    """The sessions by what tasks ask for, so that no task is compared with every session."""

    def __init__(self, weight, sessions):
        self.weight = weight
        self.directories = {}
        self.branches = {}
        self.variables = {}
        for position, session in enumerate(sessions):
            if session.current_dir is not None:
                directory = with_slash(session.current_dir)
                self.directories.setdefault(directory, []).append(position)
            if session.git_branch is not None:
                self.branches.setdefault(session.git_branch, []).append(position)
            for variable in session.env:
                variable = variable.name, variable.value
                self.variables.setdefault(variable, []).append(position)

    def terms(self, task):
        """What speaks for a session in this task's context, by position; most have nothing."""
        terms = {}
        if not task.match_context or self.weight == 0:
            return terms

        def add(positions, name, points):
            term = Term(name, points * self.weight // 100)
            for p in positions:
                terms.setdefault(p, []).append(term)

        context = task.context
        if context.working_dir is not None:
            wanted = with_slash(context.working_dir)
            for directory, positions in self.directories.items():
                if directory == wanted:
                    add(positions, "same directory", SAME_DIRECTORY)
                elif wanted.startswith(directory):
                    add(positions, "parent directory", PARENT_DIRECTORY)
                elif directory.startswith(wanted):
                    add(positions, "child directory", CHILD_DIRECTORY)
        if context.git_branch is not None:
            positions = self.branches.get(context.git_branch, ())
            add(positions, f"branch {shown(context.git_branch)}", BRANCH)
        for variable in context.env[:MOST_VARIABLES]:
            positions = self.variables.get((variable.name, variable.value), ())
            # By name only: the value may be a secret.
            add(positions, f"variable {shown(variable.name)}", VARIABLE)
        return terms


def with_slash(directory):
    """So that `/srv/app` does not begin with what `/srv/ap` does."""
    return directory if directory.endswith("/") else directory + "/"


def host_of(session, label):
    """A session that works on another machine, through ssh, can say so with a label."""
    if label != "":
        for attribute in session.labels:
            if attribute.name == label:
                return attribute.value
    return session.host


def shown(name):
    return name if len(name) <= SHOWN else name[:SHOWN] + "…"


def read_settings(config):
    """Reads the user's settings. An error names the setting and what it may be."""
    known = "`most-busy-percent`, `context-weight` and `host-label`"
    try:
        given = json.loads(config)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise Err(f"the settings must be a JSON object of {known}")
    for name in given:
        if name not in DEFAULTS:
            raise Err(f"there is no setting `{name}`; there are {known}")
    settings = DEFAULTS | given
    check_whole(settings, "most-busy-percent", 1, 100)
    check_whole(settings, "context-weight", 0, 1000)
    if not isinstance(settings["host-label"], str):
        raise Err('`host-label` must be the name of a label, or "" for none')
    return settings


def check_whole(settings, name, least, most):
    # In Python, True is a whole number.
    if type(settings[name]) is not int or not least <= settings[name] <= most:
        raise Err(f"`{name}` must be a whole number from {least} to {most}")


def line_of(error):
    """The line in which an error was raised."""
    place = error.__traceback__
    while place.tb_next is not None:
        place = place.tb_next
    return place.tb_lineno
