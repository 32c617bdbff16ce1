//! {{name}}: a task goes to the session that stands in its directory, or on its branch.
//!
//! The contract is `wit/policy.wit`. A policy is a pure function: the same tasks, sessions and
//! settings always give the same decisions. It has no clock, no files and no network. Each round
//! runs in a fresh instance, so that no variable keeps anything for the next one, and memory need
//! not be given back.

const std = @import("std");
const contract = @import("contract.zig");

const Decision = contract.Decision;
const Ranking = contract.Ranking;
const Session = contract.Session;
const Task = contract.Task;
const Term = contract.Term;

// What the host calls: `describe` once, then `configure` and `assign` in each round.
comptime {
    contract.exportPolicy(@This());
}

/// Sends the message of a panic to the host's log.
pub const panic = contract.panic;

/// Every setting at its default, in points.
var settings: struct { directory: i32, branch: i32 } = .{ .directory = 100, .branch = 30 };
const defaults =
    \\{"directory": 100, "branch": 30}
;
const names = "`directory` and `branch`";
const most = 1000;

/// What a session loses where an earlier try of the task failed: more than it can gain.
const failed_here = -10_000;

const all_taken = "every session that it may use is busy, or was given to a task before it";

pub fn describe() contract.Description {
    return .{
        .name = "{{name}}",
        .version = "0.1.0",
        .summary = "gives a task to the session in its directory or on its branch",
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
        const value = pair.value_ptr.*;
        const setting = if (std.mem.eql(u8, name, "directory"))
            &settings.directory
        else if (std.mem.eql(u8, name, "branch"))
            &settings.branch
        else
            return contract.print(
                "there is no setting `{s}`; there are " ++ names,
                .{contract.shown(name)},
            );
        if (value != .integer or value.integer < 0 or value.integer > most)
            return contract.print("`{s}` must be a whole number from 0 to {d}", .{ name, most });
        setting.* = @intCast(value.integer);
    }
    return null;
}

/// Gives each task in its turn the best session that is still free.
pub fn assign(
    round: contract.Round,
    tasks: []const Task,
    sessions: []const Session,
) []const Decision {
    var free = readyOnes(sessions);
    const decisions = contract.make(Decision, tasks.len);
    for (tasks, decisions) |*task, *decision| {
        // The round says how many are kept as the explanation, the chosen one among them.
        const best = rank(task, free, sessions, @max(round.explain, 1));
        if (best.len == 0) {
            decision.* = Decision.wait(all_taken, &.{});
            continue;
        }
        decision.* = Decision.assign(best[0], best[1..]);
        const place = std.mem.indexOfScalar(u32, free, best[0].session).?;
        std.mem.copyForwards(u32, free[place..], free[place + 1 ..]);
        free.len -= 1;
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
    std.mem.sort(u32, positions[0..count], sessions, comesBefore);
    return positions[0..count];
}

fn comesBefore(sessions: []const Session, one: u32, other: u32) bool {
    const a = sessions[one];
    const b = sessions[other];
    if (a.since != b.since) return a.since > b.since;
    return std.mem.lessThan(u8, a.name.items(), b.name.items());
}

/// The best of the free sessions that a task may use, so many at most. At equal points the one
/// that stands first is the better.
fn rank(
    task: *const Task,
    free: []const u32,
    sessions: []const Session,
    at_most: usize,
) []const Ranking {
    const allowed = task.allowed(sessions.len);
    const best = contract.make(Ranking, @min(free.len, at_most));
    var count: usize = 0;
    for (free) |session| {
        if (!allowed[session]) continue;
        const points = fit(task, session, sessions).points();
        var place = count;
        while (place > 0 and best[place - 1].points < points) place -= 1;
        if (place == best.len) continue;
        count = @min(count + 1, best.len);
        std.mem.copyBackwards(Ranking, best[place + 1 .. count], best[place .. count - 1]);
        best[place] = .{ .session = session, .points = points, .terms = .from(&.{}) };
    }
    // Words are made only for those that are shown.
    for (best[0..count]) |*ranking| {
        ranking.terms = .from(fit(task, ranking.session, sessions).terms(task));
    }
    return best[0..count];
}

fn fit(task: *const Task, position: u32, sessions: []const Session) Fit {
    const session = &sessions[position];
    const wanted = &task.context;
    // A task that was sent with `--no-context-match` asks for any session.
    const matters = task.match_context;
    return .{
        .directory = matters and contract.same(wanted.working_dir, session.current_dir),
        .branch = matters and contract.same(wanted.git_branch, session.git_branch),
        .failed = task.avoid.contains(position),
    };
}

/// What a session has to offer to a task.
const Fit = struct {
    directory: bool,
    branch: bool,
    failed: bool,

    /// The sum of the terms.
    fn points(it: Fit) i32 {
        var sum: i32 = 0;
        if (it.directory) sum += settings.directory;
        if (it.branch) sum += settings.branch;
        if (it.failed) sum += failed_here;
        return sum;
    }

    /// The points one by one, with names for people.
    fn terms(it: Fit, task: *const Task) []const Term {
        const all = contract.make(Term, 3);
        var count: usize = 0;
        if (it.directory) {
            all[count] = .{ .name = .from("same directory"), .points = settings.directory };
            count += 1;
        }
        if (it.branch) {
            const branch = contract.shown(task.context.git_branch.value.items());
            const name = contract.print("branch {s}", .{branch});
            all[count] = .{ .name = .from(name), .points = settings.branch };
            count += 1;
        }
        if (it.failed) {
            all[count] = .{ .name = .from("an earlier try failed here"), .points = failed_here };
            count += 1;
        }
        return all[0..count];
    }
};
