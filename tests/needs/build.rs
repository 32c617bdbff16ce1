//! Looks for the programs that the tests use besides tmux, git and bash: shells, agents,
//! toolchains. In CI (`CI=true`), all of them are assumed to exist.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where CI installs the newest tested Claude Code, and an earlier one.
const CLAUDE: &str = "claude/node_modules/.bin";
const CLAUDE_EARLIER: &str = "claude-earlier/node_modules/.bin";
const OPENCODE: &str = "opencode/node_modules/.bin";
const GEMINI: &str = "gemini/node_modules/.bin";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for variable in ["CI", "PATH", "VIRTUAL_ENV", "WASI_SDK_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let tools = tools();
    // So that a program that is installed later is found.
    for dir in places(&tools) {
        if dir.is_dir() {
            println!("cargo::rerun-if-changed={}", dir.display());
        }
    }
    let everything = env::var_os("CI").is_some_and(|ci| ci == "true");
    let found = [
        ("zsh", is_there("zsh", &[])),
        ("fish", is_there("fish", &[])),
        ("dash", is_there("dash", &[])),
        ("busybox", is_there("busybox", &[])),
        (
            "codex",
            is_there("codex", &[tools.join("node_modules/.bin")]),
        ),
        ("aider", is_there("aider", &[tools.join("aider/bin")])),
        // A user's own may have any version; these belong to the tests.
        ("claude", tools.join(CLAUDE).join("claude").is_file()),
        (
            "claude_earlier",
            tools.join(CLAUDE_EARLIER).join("claude").is_file(),
        ),
        ("opencode", tools.join(OPENCODE).join("opencode").is_file()),
        ("gemini", tools.join(GEMINI).join("gemini").is_file()),
        ("rust_for_wasm", rust_builds()),
        ("c_for_wasm", c_builds()),
        ("python_for_wasm", python_builds()),
        ("javascript_for_wasm", is_there("componentize-qjs", &[])),
        ("zig", zig_builds()),
        ("reftable", git_knows_reftables()),
        ("fuse", fuse_mounts()),
    ];
    let missing = found
        .iter()
        .filter(|(_, is_found)| !is_found && !everything);
    let missing: Vec<&str> = missing.map(|(name, _)| *name).collect();
    println!("cargo::rustc-env=MISSING={}", missing.join(","));
}

/// Returns where CI installs the programs that the tests use: `target/tools`.
fn tools() -> PathBuf {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    // target/release/build/assigner-HASH/out
    let target = out.ancestors().nth(4).unwrap_or(Path::new("target"));
    target.join("tools")
}

fn path() -> Vec<PathBuf> {
    env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect()
}

fn places(tools: &Path) -> Vec<PathBuf> {
    let of_tools = [
        "node_modules/.bin",
        "aider/bin",
        CLAUDE,
        CLAUDE_EARLIER,
        OPENCODE,
        GEMINI,
    ]
    .map(|dir| tools.join(dir));
    path().into_iter().chain(of_tools).collect()
}

fn is_there(program: &str, further: &[PathBuf]) -> bool {
    let places = path().into_iter().chain(further.iter().cloned());
    places
        .map(|dir| dir.join(program))
        .any(|file| file.is_file())
}

/// Returns the names of all programs in `PATH`.
fn programs() -> Vec<String> {
    path()
        .into_iter()
        .filter_map(|dir| fs::read_dir(dir).ok())
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Returns what a program prints, if it succeeds.
fn printed(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Returns whether there is a Rust that builds WebAssembly, from rustup or from Debian.
fn rust_builds() -> bool {
    let target = [
        "--print",
        "target-libdir",
        "--target",
        "wasm32-unknown-unknown",
    ];
    let of_rustup = printed("rustc", &target).is_some_and(|dir| Path::new(&dir).is_dir());
    let of_debian = || {
        printed("/usr/bin/rustc", &["--print", "sysroot"]).is_some_and(|sysroot| {
            let library = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
            library.is_dir()
        }) && programs().iter().any(|name| name.starts_with("wasm-ld-"))
    };
    is_there("cargo", &[]) && (of_rustup || of_debian())
}

/// Returns whether there is a C compiler with a library for WASI.
fn c_builds() -> bool {
    let is_clang = |name: &String| {
        let number = name.strip_prefix("clang-").unwrap_or("");
        name == "clang" || (!number.is_empty() && number.chars().all(|c| c.is_ascii_digit()))
    };
    let with_library = Path::new("/usr/include/wasm32-wasi").is_dir();
    env::var_os("WASI_SDK_PATH").is_some()
        || is_there("zig", &[])
        || (with_library && programs().iter().any(is_clang))
}

fn python_builds() -> bool {
    let environment = env::var_os("VIRTUAL_ENV").map(|dir| Path::new(&dir).join("bin"));
    let environment: Vec<PathBuf> = environment.into_iter().collect();
    is_there("componentize-py", &environment)
}

fn zig_builds() -> bool {
    is_there("zig", &[]) || printed("python3", &["-m", "ziglang", "version"]).is_some()
}

/// Returns whether this user may mount a file system that a program serves: there is a device, and
/// the permission.
fn fuse_mounts() -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let rights = rights.and_then(|rights| u64::from_str_radix(rights.trim(), 16).ok());
    let device = fs::File::options().read(true).write(true).open("/dev/fuse");
    rights.is_some_and(|rights| rights & SYS_ADMIN != 0) && device.is_ok()
}

fn git_knows_reftables() -> bool {
    let version = printed("git", &["version"]).unwrap_or_default();
    let version = version.trim_start_matches("git version ").to_owned();
    let mut numbers = version
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(2), Some(45))
}
