// sticky: a task that follows another one runs in the session that ran the other one.
//
// While that session is busy, the task waits for it, but not for ever. A task that follows nothing
// goes to a session in its directory, and else to the one that has been idle longest.

// Every setting at its default.
const DEFAULTS = { patience: 900, keep: true };
// A day, in seconds.
const MOST_PATIENCE = 86400;

// Points, so far apart that none of them makes up for a greater one.
const RAN_BEFORE = 1000;
const KEPT = -200;
const SAME_DIRECTORY = 100;

// How many characters of a name are shown.
const SHOWN = 40;

let settings = DEFAULTS;

// What the host calls: `describe` once, then `configure` and `assign` in each round.
export const matching = {
  describe() {
    return {
      name: "sticky",
      version: "0.1.0",
      summary: "keeps a task in the session that ran the task before it",
      defaultConfig: JSON.stringify(DEFAULTS),
      // Otherwise the session that a task waits for would not be listed.
      wantsBusy: true,
    };
  },

  configure(config) {
    settings = readSettings(config);
  },

  // Gives each task in its turn the best session that is still free, or lets it wait for its own.
  assign(round, tasks, sessions) {
    const free = new Set(readyOnes(sessions));
    const kept = keptOnes(tasks, sessions);

    return tasks.map((task) => {
      const parent = parentOf(task, sessions);
      const patience = settings.patience - task.waiting;
      if (parent !== null && !free.has(parent) && patience > 0) {
        const ranking = rankingOf(task, parent, sessions[parent], kept);
        const others = round.explain > 0 ? [ranking] : [];
        return { tag: "wait", val: { reason: waitsFor(sessions[parent], patience), others } };
      }

      const candidates = candidatesOf(task, [...free], sessions);
      if (candidates.length === 0) {
        const reason = "every session that it may use is busy, or was given to a task before it";
        return { tag: "wait", val: { reason, others: [] } };
      }
      const rankings = candidates.map((position) =>
        rankingOf(task, position, sessions[position], kept),
      );
      // The round says how many are kept as the explanation, the chosen one among them.
      const [take, ...others] = best(rankings, Math.max(round.explain, 1));
      free.delete(take.session);
      return { tag: "assign", val: { take, others } };
    });
  },
};

// The positions of the sessions that can be assigned, the one that has been idle longest first.
function readyOnes(sessions) {
  const positions = [...sessions.keys()].filter((position) => sessions[position].ready);
  return positions.sort((one, other) => {
    const [a, b] = [sessions[one], sessions[other]];
    return b.since - a.since || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
  });
}

// The session to which a task wants to return, or `null`: not where it may not go, not where it
// failed already, and not to a position that is not in the list.
function parentOf(task, sessions) {
  const { follows, eligible, avoid } = task;
  if (follows === null || follows >= sessions.length) return null;
  const mayReturn = eligible === null || eligible.includes(follows);
  return mayReturn && !avoid.includes(follows) ? follows : null;
}

// By position: the number of the first task that wants to return there.
function keptOnes(tasks, sessions) {
  const kept = new Map();
  for (const task of settings.keep ? tasks : []) {
    const parent = parentOf(task, sessions);
    if (parent !== null && !kept.has(parent)) kept.set(parent, task.id);
  }
  return kept;
}

// The free sessions among which the points decide.
function candidatesOf(task, free, sessions) {
  let candidates = free;
  if (task.eligible !== null) {
    const eligible = new Set(task.eligible);
    candidates = candidates.filter((position) => eligible.has(position));
  }
  // Where an earlier try failed only when there is nothing else.
  if (task.avoid.length > 0) {
    const untried = candidates.filter((position) => !task.avoid.includes(position));
    if (untried.length > 0) candidates = untried;
  }
  // Of the first provider that has any; the sender's order comes before all points.
  for (const provider of task.providers) {
    const preferred = candidates.filter((position) => sessions[position].provider === provider);
    if (preferred.length > 0) return preferred;
  }
  return candidates;
}

// What a session has to offer to a task. The names of the terms are shown to people.
function rankingOf(task, position, session, kept) {
  const terms = [];
  if (position === task.follows) {
    terms.push({ name: "ran the task before it", points: RAN_BEFORE });
  } else if (kept.has(position)) {
    terms.push({ name: `kept for task ${kept.get(position)}`, points: KEPT });
  }
  const { workingDir } = task.context;
  // A task that was sent with `--no-context-match` asks for any directory.
  if (task.matchContext && workingDir !== null && workingDir === session.currentDir) {
    terms.push({ name: "same directory", points: SAME_DIRECTORY });
  }
  const points = terms.reduce((sum, term) => sum + term.points, 0);
  return { session: position, points, terms };
}

// At most so many of the rankings, the best first; of equals the one that stood first. To sort them
// all would take much longer.
function best(rankings, atMost) {
  const best = [];
  for (const ranking of rankings) {
    if (best.length === atMost && best[atMost - 1].points >= ranking.points) continue;
    const place = best.findIndex((other) => other.points < ranking.points);
    best.splice(place < 0 ? best.length : place, 0, ranking);
    if (best.length > atMost) best.pop();
  }
  return best;
}

function waitsFor(session, patience) {
  const name = shown(session.name);
  return `session ${name} ran the task before it and is busy: waits ${duration(patience)} more at most`;
}

// By code points: a cut within one would leave half a character.
function shown(name) {
  const characters = [...name];
  return characters.length > SHOWN ? `${characters.slice(0, SHOWN).join("")}…` : name;
}

// In steps, since each new reason is written down: a countdown would be a row a second.
function duration(seconds) {
  if (seconds > 120) return `${Math.ceil(seconds / 60)} min`;
  if (seconds > 10) return `${Math.ceil(seconds / 10) * 10} s`;
  return `${seconds} s`;
}

// Reads the user's settings. An error names the setting and what it may be.
function readSettings(config) {
  const known = "`patience` and `keep`";
  let given = null;
  try {
    given = JSON.parse(config);
  } catch {
    // Told below, like anything else that is no object.
  }
  if (given === null || typeof given !== "object" || Array.isArray(given)) {
    throw new Error(`the settings must be a JSON object of ${known}`);
  }
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(DEFAULTS, name)) {
      throw new Error(`there is no setting \`${name}\`; there are ${known}`);
    }
  }
  const { patience, keep } = { ...DEFAULTS, ...given };
  if (!Number.isInteger(patience) || patience < 0 || patience > MOST_PATIENCE) {
    throw new Error(`\`patience\` must be a whole number of seconds from 0 to ${MOST_PATIENCE}`);
  }
  if (typeof keep !== "boolean") {
    throw new Error("`keep` must be true or false");
  }
  return { patience, keep };
}
