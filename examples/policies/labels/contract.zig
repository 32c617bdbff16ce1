//! The contract of `wit/policy.wit` in Zig: the types as they lie in memory, and what the host
//! calls. A policy imports this file; there is no need to change it.
//!
//! The types are those of the canonical ABI of WebAssembly components, which lays records out as C
//! does: this works without C, and without libc.

const std = @import("std");

pub const String = List(u8);

pub const Attribute = extern struct { name: String, value: String };

pub const Context = extern struct {
    working_dir: Optional(String),
    git_branch: Optional(String),
    env: List(Attribute),
};

pub const Kind = enum(u8) { prompt, command };

pub const Task = extern struct {
    id: u64,
    kind: Kind,
    summary: String,
    priority: i32,
    waiting: u32,
    attempt: u32,
    match_context: bool,
    context: Context,
    providers: List(String),
    eligible: Optional(List(u32)),
    follows: Optional(u32),
    avoid: List(u32),
    labels: List(Attribute),

    /// For each session whether the task's hard constraints allow it.
    pub fn allowed(task: *const Task, sessions: usize) []const bool {
        const marks = make(bool, sessions);
        const eligible = task.eligible.get() orelse {
            @memset(marks, true);
            return marks;
        };
        @memset(marks, false);
        for (eligible.items()) |position| {
            if (position < sessions) marks[position] = true;
        }
        return marks;
    }
};

pub const Session = extern struct {
    name: String,
    host: String,
    provider: String,
    current_dir: Optional(String),
    git_branch: Optional(String),
    env: List(Attribute),
    ready: bool,
    since: u32,
    completed: u32,
    failed: u32,
    labels: List(Attribute),
};

pub const Term = extern struct { name: String, points: i32 };

pub const Ranking = extern struct { session: u32, points: i32, terms: List(Term) };

pub const Round = struct { now: u64, explain: u32, facts: []const Attribute };

pub const Choice = extern struct { take: Ranking, others: List(Ranking) };

pub const Postponement = extern struct { reason: String, others: List(Ranking) };

pub const Decision = extern struct {
    is: enum(u8) { assign, wait },
    of: extern union { assign: Choice, wait: Postponement },

    pub fn assign(take: Ranking, others: []const Ranking) Decision {
        return .{
            .is = .assign,
            .of = .{ .assign = .{ .take = take, .others = .from(others) } },
        };
    }

    pub fn wait(reason: []const u8, others: []const Ranking) Decision {
        return .{
            .is = .wait,
            .of = .{ .wait = .{ .reason = .from(reason), .others = .from(others) } },
        };
    }
};

pub const Description = struct {
    name: []const u8,
    version: []const u8,
    summary: []const u8,
    default_config: []const u8,
    wants_busy: bool,
};

pub const Level = enum(i32) { debug, info, warn, err };

/// Writes a line to the host's log.
pub fn log(level: Level, message: []const u8) void {
    imported.log(@intFromEnum(level), message.ptr, message.len);
}

/// Memory for what is made in a round. It is never given back: the next round has an instance of
/// its own.
pub const allocator = std.heap.wasm_allocator;

/// Room for so many, or the end of the policy.
pub fn make(comptime T: type, length: usize) []T {
    return allocator.alloc(T, length) catch @panic("out of memory");
}

/// A text, as `std.fmt` puts it together.
pub fn print(comptime format: []const u8, values: anytype) []const u8 {
    return std.fmt.allocPrint(allocator, format, values) catch @panic("out of memory");
}

/// The start of a name from outside, to be shown: whole characters, 60 bytes at most.
pub fn shown(name: []const u8) []const u8 {
    var end: usize = @min(name.len, 60);
    // Not within a character: its further bytes start with the bits 10.
    while (end > 0 and end < name.len and name[end] & 0xc0 == 0x80) end -= 1;
    return name[0..end];
}

pub fn List(comptime T: type) type {
    return extern struct {
        ptr: ?[*]const T,
        len: usize,

        const Self = @This();

        pub fn from(list: []const T) Self {
            // What has no room of its own may point anywhere, and the host minds.
            return .{ .ptr = if (list.len == 0) null else list.ptr, .len = list.len };
        }

        pub fn items(self: Self) []const T {
            const ptr = self.ptr orelse return &.{};
            return ptr[0..self.len];
        }

        pub fn contains(self: Self, wanted: T) bool {
            for (self.items()) |item| if (item == wanted) return true;
            return false;
        }
    };
}

pub fn Optional(comptime T: type) type {
    return extern struct {
        is_some: bool,
        value: T,

        pub fn get(self: @This()) ?T {
            return if (self.is_some) self.value else null;
        }
    };
}

/// Whether both are there, and the same.
pub fn same(one: Optional(String), other: Optional(String)) bool {
    const a = one.get() orelse return false;
    const b = other.get() orelse return false;
    return std.mem.eql(u8, a.items(), b.items());
}

/// Says on the host's log why the policy stops, which the host cannot know otherwise.
pub const panic = std.debug.FullPanic(stop);

fn stop(message: []const u8, _: ?usize) noreturn {
    log(.err, message);
    @trap();
}

/// Makes a file the policy of this component, by its functions `describe`, `configure` and
/// `assign`.
pub fn exportPolicy(comptime policy: type) void {
    const Described = extern struct {
        name: String,
        version: String,
        summary: String,
        default_config: String,
        wants_busy: bool,
    };
    const Configured = extern struct { is_err: bool, message: String };
    const exported = struct {
        // Answers lie in memory until the host has read them.
        var described: Described = undefined;
        var configured: Configured = undefined;
        var decided: List(Decision) = undefined;

        fn describe() callconv(.c) *const Described {
            const it: Description = policy.describe();
            described = .{
                .name = .from(it.name),
                .version = .from(it.version),
                .summary = .from(it.summary),
                .default_config = .from(it.default_config),
                .wants_busy = it.wants_busy,
            };
            return &described;
        }

        fn configure(ptr: ?[*]const u8, len: usize) callconv(.c) *const Configured {
            const config = String{ .ptr = ptr, .len = len };
            const message: ?[]const u8 = policy.configure(config.items());
            configured = .{ .is_err = message != null, .message = .from(message orelse "") };
            return &configured;
        }

        fn assign(
            now: u64,
            explain: u32,
            facts: ?[*]const Attribute,
            facts_len: usize,
            tasks: ?[*]const Task,
            tasks_len: usize,
            sessions: ?[*]const Session,
            sessions_len: usize,
        ) callconv(.c) *const List(Decision) {
            const decisions: []const Decision = policy.assign(
                Round{
                    .now = now,
                    .explain = explain,
                    .facts = (List(Attribute){ .ptr = facts, .len = facts_len }).items(),
                },
                (List(Task){ .ptr = tasks, .len = tasks_len }).items(),
                (List(Session){ .ptr = sessions, .len = sessions_len }).items(),
            );
            decided = .from(decisions);
            return &decided;
        }
    };
    const prefix = "assigner:policy/matching@0.1.0#";
    @export(&exported.describe, .{ .name = prefix ++ "describe" });
    @export(&exported.configure, .{ .name = prefix ++ "configure" });
    @export(&exported.assign, .{ .name = prefix ++ "assign" });
    @export(&realloc, .{ .name = "cabi_realloc" });
}

/// How the host gets memory for what it hands over.
fn realloc(
    old: ?[*]const u8,
    old_len: usize,
    alignment: usize,
    len: usize,
) callconv(.c) [*]u8 {
    // Nothing lies there, and all that matters is that it is aligned.
    if (len == 0) return @ptrFromInt(alignment);
    const new = allocator.rawAlloc(len, .fromByteUnits(alignment), @returnAddress()) orelse
        @panic("out of memory");
    if (old) |bytes| @memcpy(new[0..@min(old_len, len)], bytes[0..@min(old_len, len)]);
    return new;
}

const imported = struct {
    extern "assigner:policy/logging@0.1.0" fn log(level: i32, ptr: [*]const u8, len: usize) void;
};
