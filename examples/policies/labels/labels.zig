//! labels: a task with labels goes only to a session that has the same labels with the same values.
//!
//! Of those that have them, it takes the one with the fewest labels beyond: a session that can do
//! much is kept free for the task that needs it. Then the one that has been idle longest. The
//! sender's order of providers comes before that, and a session in which an earlier attempt of the
//! task failed comes last.
//!
//! Each round runs in a fresh instance, so that memory need not be given back.

const std = @import("std");
const contract = @import("contract.zig");

const Attribute = contract.Attribute;
const Decision = contract.Decision;
const Ranking = contract.Ranking;
const Session = contract.Session;
const String = contract.String;
const Task = contract.Task;
const Term = contract.Term;

comptime {
    contract.exportPolicy(@This());
}
pub const panic = contract.panic;

const Settings = struct {
    /// Names of labels that do not count.
    ignore: []const []const u8 = &.{},
    /// Names of labels with which a session is only for tasks that ask for them.
    reserved: []const []const u8 = &.{},
};
var settings: Settings = .{};
const defaults =
    \\{"ignore": [], "reserved": []}
;
const names = "`ignore` and `reserved`";

// Points. Where the task failed before is only to be seen by them: such a session comes last in any
// case.
const has_label = 10;
const beyond = -1;
const failed_before = -100_000;
/// How many labels of a kind count, so that the sum stays far from the greatest number.
const most_counted = 1_000;
/// How many labels of a kind are named; a score may not have many terms.
const most_named = 20;

pub fn describe() contract.Description {
    return .{
        .name = "labels",
        .version = "0.1.0",
        .summary = "gives a task to a session that has its labels, and few others",
        .default_config = defaults,
        .wants_busy = false,
    };
}

/// Reads the user's settings. Returns null, or an error that names the setting and what it may be.
pub fn configure(config: []const u8) ?[]const u8 {
    const no_object = "the settings must be a JSON object of " ++ names;
    const given = std.json.parseFromSliceLeaky(
        std.json.Value,
        contract.allocator,
        config,
        .{},
    ) catch return no_object;
    if (given != .object) return no_object;

    var pairs = given.object.iterator();
    while (pairs.next()) |pair| {
        const name = pair.key_ptr.*;
        const setting = if (equal(name, "ignore"))
            &settings.ignore
        else if (equal(name, "reserved"))
            &settings.reserved
        else
            return contract.print(
                "there is no setting `{s}`; there are " ++ names,
                .{contract.shown(name)},
            );
        setting.* = readNames(pair.value_ptr.*) orelse return contract.print(
            "`{s}` must be a list of names of labels, such as [\"team\", \"stage\"]",
            .{name},
        );
    }
    return null;
}

fn readNames(value: std.json.Value) ?[]const []const u8 {
    if (value != .array) return null;
    const list = contract.make([]const u8, value.array.items.len);
    for (value.array.items, list) |item, *name| {
        if (item != .string or item.string.len == 0) return null;
        name.* = item.string;
    }
    return list;
}

/// Gives each task in its turn the best session that is still free.
pub fn assign(
    round: contract.Round,
    tasks: []const Task,
    sessions: []const Session,
) []const Decision {
    const ready = readyOnes(sessions);
    const is_free = contract.make(bool, sessions.len);
    @memset(is_free, true);

    const decisions = contract.make(Decision, tasks.len);
    for (tasks, decisions) |*task, *decision| {
        const allowed = task.allowed(sessions.len);
        // The round says how many are kept as the explanation, the chosen one among them.
        const best = rank(task, sessions, ready, allowed, is_free, @max(round.explain, 1));
        if (best.len > 0 and is_free[best[0].session] and suits(task, &sessions[best[0].session])) {
            decision.* = Decision.assign(best[0], best[1..]);
            is_free[best[0].session] = false;
        } else {
            const shown = best[0..@min(best.len, round.explain)];
            decision.* = Decision.wait(reason(task, sessions, best), shown);
        }
    }
    return decisions;
}

/// The positions of the sessions that can be assigned, the one that has been idle longest first.
fn readyOnes(sessions: []const Session) []u32 {
    const positions = contract.make(u32, sessions.len);
    var count: usize = 0;
    for (sessions, 0..) |session, position| {
        if (!session.ready) continue;
        positions[count] = @intCast(position);
        count += 1;
    }
    std.mem.sort(u32, positions[0..count], sessions, idleLonger);
    return positions[0..count];
}

fn idleLonger(sessions: []const Session, one: u32, other: u32) bool {
    const a = sessions[one];
    const b = sessions[other];
    if (a.since != b.since) return a.since > b.since;
    return std.mem.lessThan(u8, a.name.items(), b.name.items());
}

/// The best of the sessions that a task may use, so many at most: first those that it could take
/// now, then those that suit it and are taken, then those that have all its labels but are reserved
/// for others, then the nearest of the rest.
fn rank(
    task: *const Task,
    sessions: []const Session,
    ready: []const u32,
    allowed: []const bool,
    is_free: []const bool,
    at_most: usize,
) []const Ranking {
    const best = contract.make(Ranking, @min(ready.len, at_most));
    const places = contract.make(Place, best.len);
    var count: usize = 0;
    for (ready) |position| {
        if (!allowed[position]) continue;
        const session = &sessions[position];
        const points = score(task, position, session);
        const its: Place = .{
            .group = group(task, session, is_free[position]),
            .failed_before = task.avoid.contains(position),
            .preference = preference(task, session),
            .points = points,
        };
        var place = count;
        while (place > 0 and its.comesBefore(places[place - 1])) place -= 1;
        if (place == best.len) continue;
        count = @min(count + 1, best.len);
        std.mem.copyBackwards(Ranking, best[place + 1 .. count], best[place .. count - 1]);
        std.mem.copyBackwards(Place, places[place + 1 .. count], places[place .. count - 1]);
        best[place] = .{ .session = position, .points = points, .terms = .from(&.{}) };
        places[place] = its;
    }
    // Words are made only for those that are shown.
    for (best[0..count]) |*ranking| {
        ranking.terms = .from(terms(task, ranking.session, &sessions[ranking.session]));
    }
    return best[0..count];
}

/// What comes first among the sessions, whatever their points: a smaller number does.
fn group(task: *const Task, session: *const Session, is_free: bool) u8 {
    if (countMissing(task, session) > 0) return 3;
    if (keptFrom(task, session) != null) return 2;
    return if (is_free) 0 else 1;
}

const Place = struct {
    group: u8,
    failed_before: bool,
    preference: usize,
    points: i32,

    fn comesBefore(one: Place, other: Place) bool {
        if (one.group != other.group) return one.group < other.group;
        if (one.failed_before != other.failed_before) return other.failed_before;
        if (one.preference != other.preference) return one.preference < other.preference;
        return one.points > other.points;
    }
};

/// The place of its provider in the sender's order; behind the last where it is not in it.
fn preference(task: *const Task, session: *const Session) usize {
    for (task.providers.items(), 0..) |provider, place| {
        if (equal(provider.items(), session.provider.items())) return place;
    }
    return task.providers.items().len;
}

/// Why a task waits, given the best of the sessions that it may use.
fn reason(task: *const Task, sessions: []const Session, best: []const Ranking) []const u8 {
    if (best.len == 0) return "no session that it may use is ready";
    const nearest = &sessions[best[0].session];
    if (suits(task, nearest)) return "every session with its labels was given to a task before it";

    const name = contract.shown(nearest.name.items());
    for (task.labels.items()) |wanted| {
        if (!counts(wanted.name) or has(nearest.labels, wanted)) continue;
        const more = countMissing(task, nearest) - 1;
        return contract.print(
            "no ready session has all its labels: the nearest, {s}, {s}{s}",
            .{ name, lacks(nearest, wanted), if (more == 0) "" else others(more) },
        );
    }
    const label = keptFrom(task, nearest).?;
    return contract.print(
        "every ready session with its labels is reserved: {s} for tasks with the label {s}",
        .{ name, contract.shown(label.items()) },
    );
}

fn lacks(session: *const Session, wanted: Attribute) []const u8 {
    for (session.labels.items()) |label| {
        if (equal(label.name.items(), wanted.name.items()))
            return contract.print("has {s} instead of {s}", .{ words(label), words(wanted) });
    }
    return contract.print("lacks {s}", .{words(wanted)});
}

fn others(count: usize) []const u8 {
    return contract.print(", and {d} more do not match", .{count});
}

// Labels.

/// Whether the session has all labels that the task asks for, and is not reserved for others.
fn suits(task: *const Task, session: *const Session) bool {
    return countMissing(task, session) == 0 and keptFrom(task, session) == null;
}

/// The label that reserves the session for other tasks, if one does.
fn keptFrom(task: *const Task, session: *const Session) ?String {
    for (session.labels.items()) |label| {
        if (isReserved(label.name) and !asksFor(task, label.name)) return label.name;
    }
    return null;
}

fn countMissing(task: *const Task, session: *const Session) usize {
    var count: usize = 0;
    for (task.labels.items()) |wanted| {
        if (counts(wanted.name) and !has(session.labels, wanted)) count += 1;
    }
    return count;
}

fn countFound(task: *const Task, session: *const Session) usize {
    var count: usize = 0;
    for (task.labels.items()) |wanted| {
        if (counts(wanted.name) and has(session.labels, wanted)) count += 1;
    }
    return count;
}

/// How many labels the session has that the task does not ask for.
fn countBeyond(task: *const Task, session: *const Session) usize {
    var count: usize = 0;
    for (session.labels.items()) |label| {
        if (counts(label.name) and !has(task.labels, label)) count += 1;
    }
    return count;
}

fn counts(name: String) bool {
    return !contains(settings.ignore, name);
}

fn isReserved(name: String) bool {
    return contains(settings.reserved, name) and counts(name);
}

fn asksFor(task: *const Task, name: String) bool {
    for (task.labels.items()) |label| {
        if (equal(label.name.items(), name.items())) return true;
    }
    return false;
}

fn has(labels: contract.List(Attribute), wanted: Attribute) bool {
    for (labels.items()) |label| {
        if (equal(label.name.items(), wanted.name.items()) and
            equal(label.value.items(), wanted.value.items())) return true;
    }
    return false;
}

fn contains(list: []const []const u8, name: String) bool {
    for (list) |item| if (equal(item, name.items())) return true;
    return false;
}

fn equal(one: []const u8, other: []const u8) bool {
    return std.mem.eql(u8, one, other);
}

// Points.

/// The sum of the terms.
fn score(task: *const Task, position: u32, session: *const Session) i32 {
    const found: i32 = @intCast(@min(countFound(task, session), most_counted));
    const needless: i32 = @intCast(@min(countBeyond(task, session), most_counted));
    const penalty: i32 = if (task.avoid.contains(position)) failed_before else 0;
    return found * has_label + needless * beyond + penalty;
}

/// The points one by one, with names for people.
fn terms(task: *const Task, position: u32, session: *const Session) []const Term {
    const all = contract.make(Term, 2 * most_named + 3);
    var count: usize = 0;
    var found: usize = 0;
    var missing: usize = 0;
    for (task.labels.items()) |wanted| {
        if (!counts(wanted.name)) continue;
        const is_there = has(session.labels, wanted);
        const of_kind = if (is_there) &found else &missing;
        of_kind.* += 1;
        if (of_kind.* > most_named) continue;
        const kind = if (is_there) "label" else "lacks";
        all[count] = .{
            .name = .from(contract.print("{s} {s}", .{ kind, words(wanted) })),
            .points = if (is_there) has_label else 0,
        };
        count += 1;
    }
    if (found > most_named) {
        const more: i32 = @intCast(@min(found, most_counted) - most_named);
        all[count] = .{
            .name = .from(contract.print("{d} more labels", .{found - most_named})),
            .points = more * has_label,
        };
        count += 1;
    }
    const needless = countBeyond(task, session);
    if (needless > 0) {
        const counted: i32 = @intCast(@min(needless, most_counted));
        all[count] = .{
            .name = .from(contract.print("{d} other label{s}", .{ needless, plural(needless) })),
            .points = counted * beyond,
        };
        count += 1;
    }
    if (task.avoid.contains(position)) {
        all[count] = .{ .name = .from("it failed here before"), .points = failed_before };
        count += 1;
    }
    return all[0..count];
}

/// A label as people write it.
fn words(label: Attribute) []const u8 {
    return contract.print("{s}={s}", .{
        contract.shown(label.name.items()),
        contract.shown(label.value.items()),
    });
}

fn plural(count: usize) []const u8 {
    return if (count == 1) "" else "s";
}
