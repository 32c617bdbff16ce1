// least-failures: a task goes to the session whose tasks fail least often.
//
// Of equally reliable sessions it takes the one that fits the task's context best, then the one
// that has been idle longest. Points put that into one number: a step of reliability counts more
// than all context together. The sender's order of providers comes before all points, and a
// session in which an earlier attempt of the task failed comes last.
//
// Strings have a length and no zero at the end. What is handed to the host has to come from
// `malloc`: generated code frees it once the host has read it. Each round runs in a fresh
// instance, so that the rest need not be given back.

#include <stdlib.h>
#include <string.h>

#include "policy.h"

// The generated names are long.
typedef policy_string_t String;
typedef policy_option_string_t OptionalString;
typedef assigner_policy_types_attribute_t Attribute;
typedef assigner_policy_types_list_attribute_t Attributes;
typedef assigner_policy_types_task_t Task;
typedef assigner_policy_types_session_t Session;
typedef assigner_policy_types_term_t Term;
typedef assigner_policy_types_list_term_t Terms;
typedef assigner_policy_types_ranking_t Ranking;
typedef assigner_policy_types_list_ranking_t Rankings;
typedef assigner_policy_types_decision_t Decision;

// Reliability has twenty steps of five percent each, so that a failure more or less among many
// does not hide which session stands in the right directory.
enum { STEPS = 20, STEP_POINTS = 50 };

// Together less than `STEP_POINTS`.
enum {
  SAME_DIRECTORY = 20,
  PARENT_DIRECTORY = 10,
  CHILD_DIRECTORY = 5,
  BRANCH = 8,
  VARIABLE = 2,
  MOST_VARIABLES = 8,
};

// Only to be seen: such a session comes last in any case.
enum { FAILED_BEFORE = -2000 };

// What is known of a session before any task is looked at.
typedef struct {
  uint32_t position;
  int32_t reliability;
  // It fails more often than `max-failure-percent` allows.
  bool fails_too_often;
  bool is_taken;
} Candidate;

// Where a session fits a task.
typedef struct {
  // Points, and what they are called.
  int32_t directory;
  const char *directory_name;
  bool branch;
  int32_t variables;
  bool failed_before;
  // The place of its provider in the sender's order; behind the last where it is not in it.
  size_t preference;
} Fit;

// A candidate for one task.
typedef struct {
  Candidate *candidate;
  Fit fit;
  int32_t points;
} Ranked;

// A text that is being put together; what does not fit is left out.
typedef struct {
  char bytes[512];
  size_t length;
} Text;

// How much of a name from outside is shown, in bytes.
enum { SHOWN = 60 };

// The settings at their defaults.
static int32_t max_failure_percent = 100;
static int32_t min_tasks = 5;

static const struct {
  const char *name;
  int32_t *value;
  int32_t least;
  int32_t most;
} all_settings[] = {
    {"max-failure-percent", &max_failure_percent, 0, 100},
    {"min-tasks", &min_tasks, 1, 1000},
};
#define DEFAULTS "{\"max-failure-percent\": 100, \"min-tasks\": 5}"
#define NAMES "`max-failure-percent` and `min-tasks`"

// The sessions of the round.
static const Session *sessions;
static size_t session_count;

static size_t find_candidates(Candidate *candidates);
static Decision decide(const Task *task, Candidate *candidates, size_t count, size_t shown);
static Fit fit(const Task *task, uint32_t position);
static int32_t points(const Candidate *candidate, Fit fit);
static Ranking ranking(const Task *task, const Ranked *ranked);
static void explain_wait(Text *reason, const Candidate *unfit, bool any_taken);
static bool read_settings(const char *at, Text *error);
static int order(const String *one, const String *other);
static bool equal(const String *one, const String *other);
static bool same(const OptionalString *one, const OptionalString *other);
static void add(Text *text, const char *words);
static void add_shown(Text *text, const char *name, size_t length);
static void add_number(Text *text, int64_t number);
static void *make(size_t count, size_t size);

void exports_assigner_policy_matching_describe(
    exports_assigner_policy_matching_description_t *it) {
  policy_string_dup(&it->name, "least-failures");
  policy_string_dup(&it->version, "0.1.0");
  policy_string_dup(&it->summary, "gives a task to the session whose tasks fail least often");
  policy_string_dup(&it->default_config, DEFAULTS);
  it->wants_busy = false;
}

bool exports_assigner_policy_matching_configure(String *config, String *error) {
  // With a zero at the end, so that nothing is read behind it.
  char *json = make(config->len + 1, 1);
  if (config->len > 0) memcpy(json, config->ptr, config->len);
  Text words = {.length = 0};
  bool ok = read_settings(json, &words);
  if (!ok) policy_string_dup_n(error, words.bytes, words.length);
  return ok;
}

void exports_assigner_policy_matching_assign(
    exports_assigner_policy_matching_round_t *round,
    exports_assigner_policy_matching_list_task_t *tasks,
    exports_assigner_policy_matching_list_session_t *all,
    exports_assigner_policy_matching_list_decision_t *decisions) {
  sessions = all->ptr;
  session_count = all->len;
  Candidate *candidates = make(session_count, sizeof *candidates);
  size_t count = find_candidates(candidates);
  size_t shown = round->explain < count ? round->explain : count;
  decisions->len = tasks->len;
  decisions->ptr = make(tasks->len, sizeof *decisions->ptr);
  for (size_t i = 0; i < tasks->len; i++) {
    decisions->ptr[i] = decide(&tasks->ptr[i], candidates, count, shown);
  }
}

// Reliability.

static uint64_t ended(const Session *session) {
  return (uint64_t)session->completed + session->failed;
}

// How often tasks fail in a session, from 0 to 1. One lucky task is no proof: of those that it
// lacks to `min-tasks`, as many are counted as failed as is usual.
static double failure_rate(const Session *session, double usual) {
  uint64_t tasks = ended(session);
  uint64_t lacking = tasks < (uint64_t)min_tasks ? (uint64_t)min_tasks - tasks : 0;
  return ((double)session->failed + (double)lacking * usual) / (double)(tasks + lacking);
}

static bool fails_too_often(const Session *session) {
  uint64_t tasks = ended(session);
  return tasks >= (uint64_t)min_tasks &&
         (uint64_t)session->failed * 100 > tasks * (uint64_t)max_failure_percent;
}

static int compare_candidates(const void *one, const void *other) {
  const Candidate *a = one, *b = other;
  const Session *x = &sessions[a->position], *y = &sessions[b->position];
  if (x->since != y->since) return x->since > y->since ? -1 : 1;
  int names = order(&x->name, &y->name);
  if (names != 0) return names;
  return a->position < b->position ? -1 : 1;
}

// Finds the sessions that are ready, in the order that settles ties: the longest idle first, then
// the smaller name. Returns how many there are.
static size_t find_candidates(Candidate *candidates) {
  double all_ended = 0, all_failed = 0;
  for (size_t i = 0; i < session_count; i++) {
    all_ended += (double)ended(&sessions[i]);
    all_failed += (double)sessions[i].failed;
  }
  double usual = all_ended > 0 ? all_failed / all_ended : 0;

  size_t count = 0;
  for (uint32_t position = 0; position < session_count; position++) {
    const Session *session = &sessions[position];
    if (!session->ready) continue;
    int32_t failing = (int32_t)(failure_rate(session, usual) * STEPS + 0.5);
    candidates[count++] = (Candidate){
        .position = position,
        .reliability = (STEPS - failing) * STEP_POINTS,
        .fails_too_often = fails_too_often(session),
    };
  }
  qsort(candidates, count, sizeof *candidates, compare_candidates);
  return count;
}

// One task.

static bool *allowed_sessions(const Task *task) {
  bool *allowed = make(session_count, sizeof *allowed);
  if (!task->eligible.is_some) {
    memset(allowed, true, session_count);
    return allowed;
  }
  for (size_t i = 0; i < task->eligible.val.len; i++) {
    uint32_t position = task->eligible.val.ptr[i];
    if (position < session_count) allowed[position] = true;
  }
  return allowed;
}

// Whether the first comes before the second.
static bool better(const Ranked *one, const Ranked *other) {
  const Candidate *a = one->candidate, *b = other->candidate;
  if (a->fails_too_often != b->fails_too_often) return b->fails_too_often;
  if (one->fit.failed_before != other->fit.failed_before) return other->fit.failed_before;
  if (one->fit.preference != other->fit.preference) {
    return one->fit.preference < other->fit.preference;
  }
  return one->points > other->points;
}

static Decision decide(const Task *task, Candidate *candidates, size_t count, size_t shown) {
  bool *allowed = allowed_sessions(task);
  // The best of those that are free, the best first; one, even where none is asked for.
  size_t most = shown > 0 ? shown : 1;
  Ranked *best = make(most, sizeof *best);
  size_t found = 0;
  bool any_taken = false;
  for (size_t i = 0; i < count; i++) {
    Candidate *candidate = &candidates[i];
    if (!allowed[candidate->position]) continue;
    if (candidate->is_taken) {
      any_taken = true;
      continue;
    }
    Ranked ranked = {.candidate = candidate, .fit = fit(task, candidate->position)};
    ranked.points = points(candidate, ranked.fit);
    size_t place = found;
    while (place > 0 && better(&ranked, &best[place - 1])) place--;
    if (place == most) continue;
    if (found < most) found++;
    memmove(&best[place + 1], &best[place], (found - 1 - place) * sizeof *best);
    best[place] = ranked;
  }
  free(allowed);

  Decision decision;
  Rankings *others;
  size_t first = 0;
  if (found > 0 && !best[0].candidate->fails_too_often) {
    decision.tag = ASSIGNER_POLICY_TYPES_DECISION_ASSIGN;
    decision.val.assign.take = ranking(task, &best[0]);
    best[0].candidate->is_taken = true;
    others = &decision.val.assign.others;
    first = 1;
  } else {
    Text reason = {.length = 0};
    explain_wait(&reason, found > 0 ? best[0].candidate : NULL, any_taken);
    decision.tag = ASSIGNER_POLICY_TYPES_DECISION_WAIT;
    policy_string_dup_n(&decision.val.wait.reason, reason.bytes, reason.length);
    others = &decision.val.wait.others;
  }
  size_t last = found < shown ? found : shown;
  others->len = last > first ? last - first : 0;
  others->ptr = make(others->len, sizeof *others->ptr);
  for (size_t i = 0; i < others->len; i++) others->ptr[i] = ranking(task, &best[first + i]);
  free(best);
  return decision;
}

// Why a task waits: `unfit` is the best of those that are free and fail too often.
static void explain_wait(Text *reason, const Candidate *unfit, bool any_taken) {
  if (unfit == NULL && any_taken) {
    add(reason, "every session it may use was given to a task before it");
  } else if (unfit == NULL) {
    add(reason, "no session that it may use is ready");
  } else {
    const Session *session = &sessions[unfit->position];
    add(reason, "every free session that it may use fails too often: the best, ");
    add_shown(reason, (const char *)session->name.ptr, session->name.len);
    add(reason, ", in ");
    add_number(reason, session->failed);
    add(reason, " of ");
    add_number(reason, (int64_t)ended(session));
    add(reason, " tasks, where `max-failure-percent` is ");
    add_number(reason, max_failure_percent);
  }
}

// Points.

// Whether a directory contains another, by whole names: /srv/app does not contain /srv/app2.
static bool contains(const String *outer, const String *inner) {
  if (outer->len >= inner->len || memcmp(outer->ptr, inner->ptr, outer->len) != 0) return false;
  return inner->ptr[outer->len] == '/' || (outer->len == 1 && outer->ptr[0] == '/');
}

static void compare_directories(const Task *task, const Session *session, Fit *it) {
  const OptionalString *wanted = &task->context.working_dir, *there = &session->current_dir;
  if (!wanted->is_some || !there->is_some || wanted->val.len == 0 || there->val.len == 0) return;
  if (same(wanted, there)) {
    it->directory = SAME_DIRECTORY;
    it->directory_name = "same directory";
  } else if (contains(&there->val, &wanted->val)) {
    it->directory = PARENT_DIRECTORY;
    it->directory_name = "parent directory";
  } else if (contains(&wanted->val, &there->val)) {
    it->directory = CHILD_DIRECTORY;
    it->directory_name = "child directory";
  }
}

static bool has(const Attributes *list, const Attribute *wanted) {
  for (size_t i = 0; i < list->len; i++) {
    if (equal(&list->ptr[i].name, &wanted->name) && equal(&list->ptr[i].value, &wanted->value)) {
      return true;
    }
  }
  return false;
}

static Fit fit(const Task *task, uint32_t position) {
  const Session *session = &sessions[position];
  Fit it = {.directory = 0};
  // A task that was sent with `--no-context-match` asks for any session.
  if (task->match_context) {
    compare_directories(task, session, &it);
    it.branch = same(&task->context.git_branch, &session->git_branch);
    const Attributes *wanted = &task->context.env;
    for (size_t i = 0; i < wanted->len && it.variables < MOST_VARIABLES; i++) {
      if (has(&session->env, &wanted->ptr[i])) it.variables++;
    }
  }
  for (size_t i = 0; i < task->avoid.len; i++) {
    if (task->avoid.ptr[i] == position) it.failed_before = true;
  }
  const policy_list_string_t *providers = &task->providers;
  while (it.preference < providers->len &&
         !equal(&providers->ptr[it.preference], &session->provider)) {
    it.preference++;
  }
  return it;
}

// The sum of the terms.
static int32_t points(const Candidate *candidate, Fit it) {
  return candidate->reliability + it.directory + (it.branch ? BRANCH : 0) +
         it.variables * VARIABLE + (it.failed_before ? FAILED_BEFORE : 0);
}

static void add_term(Terms *terms, const char *name, size_t length, int32_t points) {
  Term *term = &terms->ptr[terms->len++];
  policy_string_dup_n(&term->name, name, length);
  term->points = points;
}

// The points one by one, with names for people.
static Ranking ranking(const Task *task, const Ranked *ranked) {
  const Candidate *candidate = ranked->candidate;
  const Session *session = &sessions[candidate->position];
  Fit it = ranked->fit;
  Terms terms = {.ptr = make(6, sizeof(Term))};

  Text reliability = {.length = 0};
  add_number(&reliability, session->failed);
  add(&reliability, " of ");
  add_number(&reliability, (int64_t)ended(session));
  add(&reliability, " tasks failed");
  add_term(&terms, reliability.bytes, reliability.length, candidate->reliability);
  if (it.directory > 0) {
    add_term(&terms, it.directory_name, strlen(it.directory_name), it.directory);
  }
  if (it.branch) {
    const String *branch = &task->context.git_branch.val;
    Text name = {.length = 0};
    add(&name, "branch ");
    add_shown(&name, (const char *)branch->ptr, branch->len);
    add_term(&terms, name.bytes, name.length, BRANCH);
  }
  if (it.variables > 0) {
    add_term(&terms, "variables", strlen("variables"), it.variables * VARIABLE);
  }
  if (it.failed_before) {
    const char *name = "it failed here before";
    add_term(&terms, name, strlen(name), FAILED_BEFORE);
  }
  if (candidate->fails_too_often) {
    const char *name = "fails too often";
    add_term(&terms, name, strlen(name), 0);
  }
  return (Ranking){
      .session = candidate->position, .points = ranked->points, .terms = terms};
}

// Settings: enough of JSON for an object of whole numbers.

static bool eat(const char **at, char wanted) {
  *at += strspn(*at, " \t\r\n");
  if (**at != wanted) return false;
  (*at)++;
  return true;
}

static bool read_number(const char **at, int32_t *number) {
  *at += strspn(*at, " \t\r\n");
  size_t digits = strspn(*at, "0123456789");
  // More than the settings have, and no more than fit.
  if (digits == 0 || digits > 8) return false;
  int32_t value = 0;
  for (; digits > 0; digits--) value = value * 10 + (*(*at)++ - '0');
  *number = value;
  // A fraction or an exponent would go on with something else.
  return strchr(",} \t\r\n", **at) != NULL;
}

// Reads the value of the setting that is called so. Returns false with the error in words.
static bool read_setting(const char *name, size_t length, const char **at, Text *error) {
  size_t count = sizeof all_settings / sizeof *all_settings;
  for (size_t i = 0; i < count; i++) {
    const char *known = all_settings[i].name;
    if (strlen(known) != length || memcmp(known, name, length) != 0) continue;
    int32_t number;
    bool is_number = read_number(at, &number);
    if (is_number && number >= all_settings[i].least && number <= all_settings[i].most) {
      *all_settings[i].value = number;
      return true;
    }
    add(error, "`");
    add(error, known);
    add(error, "` must be a whole number from ");
    add_number(error, all_settings[i].least);
    add(error, " to ");
    add_number(error, all_settings[i].most);
    return false;
  }
  add(error, "there is no setting `");
  add_shown(error, name, length);
  add(error, "`; there are " NAMES);
  return false;
}

static bool no_object(Text *error) {
  add(error, "the settings must be a JSON object of " NAMES);
  return false;
}

static bool read_settings(const char *at, Text *error) {
  if (!eat(&at, '{')) return no_object(error);
  if (!eat(&at, '}')) {
    do {
      if (!eat(&at, '"')) return no_object(error);
      const char *name = at;
      // Up to the quote; one that is escaped belongs to the name.
      while (*at != '\0' && *at != '"') at += *at == '\\' && at[1] != '\0' ? 2 : 1;
      size_t length = (size_t)(at - name);
      if (!eat(&at, '"') || !eat(&at, ':')) return no_object(error);
      if (!read_setting(name, length, &at, error)) return false;
    } while (eat(&at, ','));
    if (!eat(&at, '}')) return no_object(error);
  }
  at += strspn(at, " \t\r\n");
  return *at == '\0' || no_object(error);
}

// Strings and memory.

static int order(const String *one, const String *other) {
  size_t common = one->len < other->len ? one->len : other->len;
  int bytes = common > 0 ? memcmp(one->ptr, other->ptr, common) : 0;
  if (bytes != 0) return bytes;
  return one->len < other->len ? -1 : one->len > other->len;
}

static bool equal(const String *one, const String *other) {
  return one->len == other->len && order(one, other) == 0;
}

// Whether both are there, and the same.
static bool same(const OptionalString *one, const OptionalString *other) {
  return one->is_some && other->is_some && equal(&one->val, &other->val);
}

static void add_bytes(Text *text, const char *bytes, size_t length) {
  size_t room = sizeof text->bytes - text->length;
  if (length > room) length = room;
  if (length > 0) memcpy(&text->bytes[text->length], bytes, length);
  text->length += length;
}

static void add(Text *text, const char *words) { add_bytes(text, words, strlen(words)); }

// Adds the start of a name from outside, whole characters of UTF-8.
static void add_shown(Text *text, const char *name, size_t length) {
  size_t end = length < SHOWN ? length : SHOWN;
  // Not within a character: its further bytes start with the bits 10.
  while (end > 0 && end < length && ((unsigned char)name[end] & 0xc0) == 0x80) end--;
  add_bytes(text, name, end);
}

// Adds a number that is not negative.
static void add_number(Text *text, int64_t number) {
  char digits[20];
  size_t first = sizeof digits;
  do {
    digits[--first] = (char)('0' + number % 10);
    number /= 10;
  } while (number > 0);
  add_bytes(text, &digits[first], sizeof digits - first);
}

// Room for so many, all zero, or the end of the policy.
static void *make(size_t count, size_t size) {
  void *room = calloc(count > 0 ? count : 1, size);
  if (room == NULL) abort();
  return room;
}
