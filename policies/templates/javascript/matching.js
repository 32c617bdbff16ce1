// {{name}}: a task goes to the session that stands in its directory, or on its branch.
//
// The contract is `wit/policy.wit`. A policy is a pure function: the same tasks, sessions and
// settings always give the same decisions. It has no clock, no files and no network. Each round
// runs in a fresh instance, so that no variable keeps anything for the next one.

// Every setting at its default, in points.
const DEFAULTS = { directory: 100, branch: 30 };
const MOST = 1000;

// What a session loses where an earlier try of the task failed: more than it can gain.
const FAILED_HERE = -10000;

let settings = DEFAULTS;

// What the host calls: `describe` once, then `configure` and `assign` in each round.
export const matching = {
  describe() {
    return {
      name: "{{name}}",
      version: "0.1.0",
      summary: "gives a task to the session in its directory or on its branch",
      defaultConfig: JSON.stringify(DEFAULTS),
      wantsBusy: false,
    };
  },

  configure(config) {
    settings = readSettings(config);
  },

  // Gives each task in its turn the best session that is still free.
  assign(round, tasks, sessions) {
    const free = readyOnes(sessions);
    return tasks.map((task) => {
      const candidates = allowedOnes(task, free);
      if (candidates.length === 0) {
        const reason = "every session that it may use is busy, or was given to a task before it";
        return { tag: "wait", val: { reason, others: [] } };
      }
      const rankings = candidates.map((position) => ranking(task, position, sessions[position]));
      // The round says how many are kept as the explanation, the chosen one among them.
      const [take, ...others] = best(rankings, Math.max(round.explain, 1));
      free.splice(free.indexOf(take.session), 1);
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

function allowedOnes(task, positions) {
  // `null`: every session.
  if (task.eligible === null) return positions;
  const eligible = new Set(task.eligible);
  return positions.filter((position) => eligible.has(position));
}

// What a session has to offer to a task. The names of the terms are shown to people.
function ranking(task, position, session) {
  const { workingDir, gitBranch } = task.context;
  const terms = [];
  // A task that was sent with `--no-context-match` asks for any session.
  if (task.matchContext) {
    if (workingDir !== null && workingDir === session.currentDir) {
      terms.push({ name: "same directory", points: settings.directory });
    }
    if (gitBranch !== null && gitBranch === session.gitBranch) {
      terms.push({ name: `branch ${gitBranch}`, points: settings.branch });
    }
  }
  if (task.avoid.includes(position)) {
    terms.push({ name: "an earlier try failed here", points: FAILED_HERE });
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

// Reads the user's settings. An error names the setting and what it may be.
function readSettings(config) {
  const known = Object.keys(DEFAULTS).map((name) => `\`${name}\``).join(" and ");
  let given = null;
  try {
    given = JSON.parse(config);
  } catch {
    // Told below, like anything else that is no object.
  }
  if (given === null || typeof given !== "object" || Array.isArray(given)) {
    throw new Error(`the settings must be a JSON object of ${known}`);
  }
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(DEFAULTS, name)) {
      throw new Error(`there is no setting \`${name}\`; there are ${known}`);
    }
    if (!Number.isInteger(value) || value < 0 || value > MOST) {
      throw new Error(`\`${name}\` must be a whole number from 0 to ${MOST}`);
    }
  }
  return { ...DEFAULTS, ...given };
}
