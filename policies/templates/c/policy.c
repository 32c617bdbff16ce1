// {{name}}: a task goes to the session that stands in its directory, or on its branch.
//
// The contract is `wit/policy.wit`, its types in C are in `gen/policy.h`. A policy is a pure
// function: the same tasks, sessions and settings always give the same decisions. It has no clock,
// no files and no network; of the C library, <stdio.h> cannot be used. Each round runs in a fresh
// instance, so that no variable keeps anything for the next one.
//
// Strings have a length and no zero at the end. What is handed to the host has to come from
// `malloc`: generated code frees it once the host has read it.

#include <stdlib.h>
#include <string.h>

#include "policy.h"

// The generated names are long.
typedef policy_string_t String;
typedef policy_option_string_t OptionalString;
typedef policy_list_u32_t Positions;
typedef assigner_policy_types_task_t Task;
typedef assigner_policy_types_session_t Session;
typedef assigner_policy_types_term_t Term;
typedef assigner_policy_types_ranking_t Ranking;
typedef exports_assigner_policy_matching_list_session_t Sessions;

// Every setting at its default, in points.
static int32_t directory_points = 100;
static int32_t branch_points = 30;

#define DEFAULTS "{\"directory\": 100, \"branch\": 30}"
#define NAMES "`directory` and `branch`"

// The most that a setting may be.
#define MOST 1000
#define MOST_IN_WORDS "1000"

// What a session loses where an earlier try of the task failed: more than it can gain.
#define FAILED_HERE -10000

// How much of a name from outside is shown, in bytes.
#define SHOWN 60

// A text that is being put together; what does not fit is left out.
typedef struct {
  char bytes[256];
  size_t length;
} Text;

// What a session has to offer to a task.
typedef struct {
  bool directory;
  bool branch;
  bool failed;
} Fit;

static void decide(uint32_t shown, const Task *task, Positions *free_ones,
                   const Sessions *sessions, assigner_policy_types_decision_t *decision);
static Positions ready_ones(const Sessions *sessions);
static bool *allowed_ones(const Task *task, const Sessions *sessions);
static Fit fit(const Task *task, uint32_t position, const Sessions *sessions);
static int32_t points(Fit fit);
static assigner_policy_types_list_term_t terms(Fit fit, const Task *task);
static bool read_settings(const char *at, Text *error);
static bool same(const OptionalString *one, const OptionalString *other);
static void add(Text *text, const char *words);
static void add_shown(Text *text, const char *name, size_t length);
static void *make(size_t count, size_t size);

void exports_assigner_policy_matching_describe(
    exports_assigner_policy_matching_description_t *it) {
  policy_string_dup(&it->name, "{{name}}");
  policy_string_dup(&it->version, "0.1.0");
  policy_string_dup(&it->summary, "gives a task to the session in its directory or on its branch");
  policy_string_dup(&it->default_config, DEFAULTS);
  it->wants_busy = false;
}

// Reads the user's settings. An error names the setting and what it may be.
bool exports_assigner_policy_matching_configure(String *config, String *error) {
  char *json = make(config->len + 1, 1);
  if (config->len > 0) memcpy(json, config->ptr, config->len);
  Text words = {.length = 0};
  bool ok = read_settings(json, &words);
  if (!ok) policy_string_dup_n(error, words.bytes, words.length);
  free(json);
  return ok;
}

// Gives each task in its turn the best session that is still free.
void exports_assigner_policy_matching_assign(
    exports_assigner_policy_matching_round_t *round,
    exports_assigner_policy_matching_list_task_t *tasks,
    Sessions *sessions,
    exports_assigner_policy_matching_list_decision_t *decisions) {
  Positions free_ones = ready_ones(sessions);
  // The round says how many rankings are kept as the explanation, the chosen one among them.
  uint32_t shown = round->explain > 0 ? round->explain : 1;
  decisions->len = tasks->len;
  decisions->ptr = make(tasks->len, sizeof *decisions->ptr);
  for (size_t i = 0; i < tasks->len; i++) {
    decide(shown, &tasks->ptr[i], &free_ones, sessions, &decisions->ptr[i]);
  }
}

static void decide(uint32_t shown, const Task *task, Positions *free_ones,
                   const Sessions *sessions, assigner_policy_types_decision_t *decision) {
  bool *allowed = allowed_ones(task, sessions);
  size_t most = shown < free_ones->len ? shown : free_ones->len;
  Ranking *best = make(most, sizeof *best);
  size_t count = 0;

  // The best first; at equal points the one that stands first among the free ones.
  for (size_t i = 0; i < free_ones->len; i++) {
    uint32_t position = free_ones->ptr[i];
    if (!allowed[position]) continue;
    Ranking ranking = {.session = position, .points = points(fit(task, position, sessions))};
    size_t place = count;
    while (place > 0 && best[place - 1].points < ranking.points) place--;
    if (place == most) continue;
    if (count < most) count++;
    memmove(&best[place + 1], &best[place], (count - 1 - place) * sizeof *best);
    best[place] = ranking;
  }
  free(allowed);

  if (count == 0) {
    decision->tag = ASSIGNER_POLICY_TYPES_DECISION_WAIT;
    policy_string_dup(&decision->val.wait.reason,
                      "every session that it may use is busy, or was given to a task before it");
    free(best);
    return;
  }
  // Words are made only for those that are shown.
  for (size_t i = 0; i < count; i++) {
    best[i].terms = terms(fit(task, best[i].session, sessions), task);
  }
  decision->tag = ASSIGNER_POLICY_TYPES_DECISION_ASSIGN;
  decision->val.assign.take = best[0];
  decision->val.assign.others.ptr = make(count - 1, sizeof *best);
  decision->val.assign.others.len = count - 1;
  memcpy(decision->val.assign.others.ptr, &best[1], (count - 1) * sizeof *best);

  size_t taken = 0;
  while (free_ones->ptr[taken] != best[0].session) taken++;
  free_ones->len--;
  memmove(&free_ones->ptr[taken], &free_ones->ptr[taken + 1],
          (free_ones->len - taken) * sizeof *free_ones->ptr);
  free(best);
}

// For `qsort`, which hands over no context.
static const Session *all_sessions;

static int compare_idle(const void *one, const void *other) {
  uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
  const Session *x = &all_sessions[a], *y = &all_sessions[b];
  if (x->since != y->since) return x->since > y->since ? -1 : 1;
  size_t common = x->name.len < y->name.len ? x->name.len : y->name.len;
  int order = common > 0 ? memcmp(x->name.ptr, y->name.ptr, common) : 0;
  if (order != 0) return order;
  if (x->name.len != y->name.len) return x->name.len < y->name.len ? -1 : 1;
  return a < b ? -1 : a > b;
}

// The positions of the sessions that can be assigned, the one that has been idle longest first.
static Positions ready_ones(const Sessions *sessions) {
  Positions ready = {.ptr = make(sessions->len, sizeof *ready.ptr)};
  for (uint32_t position = 0; position < sessions->len; position++) {
    if (sessions->ptr[position].ready) ready.ptr[ready.len++] = position;
  }
  all_sessions = sessions->ptr;
  qsort(ready.ptr, ready.len, sizeof *ready.ptr, compare_idle);
  return ready;
}

// For each session whether the task's hard constraints allow it.
static bool *allowed_ones(const Task *task, const Sessions *sessions) {
  bool *allowed = make(sessions->len, sizeof *allowed);
  if (!task->eligible.is_some) {
    memset(allowed, true, sessions->len);
    return allowed;
  }
  for (size_t i = 0; i < task->eligible.val.len; i++) {
    uint32_t position = task->eligible.val.ptr[i];
    if (position < sessions->len) allowed[position] = true;
  }
  return allowed;
}

static Fit fit(const Task *task, uint32_t position, const Sessions *sessions) {
  const Session *session = &sessions->ptr[position];
  Fit it = {false, false, false};
  // A task that was sent with `--no-context-match` asks for any session.
  if (task->match_context) {
    it.directory = same(&task->context.working_dir, &session->current_dir);
    it.branch = same(&task->context.git_branch, &session->git_branch);
  }
  for (size_t i = 0; i < task->avoid.len; i++) {
    if (task->avoid.ptr[i] == position) it.failed = true;
  }
  return it;
}

// The sum of the terms.
static int32_t points(Fit it) {
  return (it.directory ? directory_points : 0) + (it.branch ? branch_points : 0) +
         (it.failed ? FAILED_HERE : 0);
}

// The points one by one, with names for people.
static assigner_policy_types_list_term_t terms(Fit it, const Task *task) {
  assigner_policy_types_list_term_t list = {.ptr = make(3, sizeof(Term))};
  if (it.directory) {
    Term *term = &list.ptr[list.len++];
    policy_string_dup(&term->name, "same directory");
    term->points = directory_points;
  }
  if (it.branch) {
    Term *term = &list.ptr[list.len++];
    const String *branch = &task->context.git_branch.val;
    Text name = {.length = 0};
    add(&name, "branch ");
    add_shown(&name, (const char *)branch->ptr, branch->len);
    policy_string_dup_n(&term->name, name.bytes, name.length);
    term->points = branch_points;
  }
  if (it.failed) {
    Term *term = &list.ptr[list.len++];
    policy_string_dup(&term->name, "an earlier try failed here");
    term->points = FAILED_HERE;
  }
  return list;
}

// Settings: enough of JSON for an object of whole numbers.

static bool eat(const char **at, char wanted) {
  *at += strspn(*at, " \t\r\n");
  if (**at != wanted) return false;
  (*at)++;
  return true;
}

// Reads a whole number from 0 to `MOST`.
static bool read_number(const char **at, int32_t *number) {
  *at += strspn(*at, " \t\r\n");
  size_t digits = strspn(*at, "0123456789");
  if (digits == 0 || digits > 4) return false;
  *number = 0;
  for (; digits > 0; digits--) *number = *number * 10 + (*(*at)++ - '0');
  // What a fraction, or anything else than a number, goes on with.
  return *number <= MOST && strchr(",} \t\r\n", **at) != NULL;
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

      int32_t *setting = NULL;
      if (length == 9 && memcmp(name, "directory", length) == 0) setting = &directory_points;
      if (length == 6 && memcmp(name, "branch", length) == 0) setting = &branch_points;
      if (setting == NULL) {
        add(error, "there is no setting `");
        add_shown(error, name, length);
        add(error, "`; there are " NAMES);
        return false;
      }
      if (!read_number(&at, setting)) {
        add(error, "`");
        add_shown(error, name, length);
        add(error, "` must be a whole number from 0 to " MOST_IN_WORDS);
        return false;
      }
    } while (eat(&at, ','));
    if (!eat(&at, '}')) return no_object(error);
  }
  at += strspn(at, " \t\r\n");
  return *at == '\0' || no_object(error);
}

// Strings and memory.

// Whether both are there, and the same.
static bool same(const OptionalString *one, const OptionalString *other) {
  return one->is_some && other->is_some && one->val.len == other->val.len &&
         (one->val.len == 0 || memcmp(one->val.ptr, other->val.ptr, one->val.len) == 0);
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

// Room for so many, all zero, or the end of the policy.
static void *make(size_t count, size_t size) {
  void *room = calloc(count > 0 ? count : 1, size);
  if (room == NULL) abort();
  return room;
}
