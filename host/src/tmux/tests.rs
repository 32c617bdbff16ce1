//! The driver against a real tmux, each test on a server of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::*;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes a program. Another process does it: a concurrent test that starts a process briefly
/// inherits every file that is open here, and a file that is open for writing cannot be run.
pub(super) fn write_program(path: &Path, text: &str) {
    let written = Command::new("sh")
        .args(["-c", "printf %s \"$2\" > \"$1\" && chmod +x \"$1\"", "sh"])
        .arg(path)
        .arg(text)
        .status()
        .expect("sh runs");
    assert!(written.success(), "{}", path.display());
}

/// A private tmux server that ends with this value.
struct Sandbox {
    dir: TempDir,
    socket: PathBuf,
}

impl Sandbox {
    /// Without a server yet.
    fn empty() -> Self {
        let dir = TempDir::new().expect("a directory");
        // The socket's path is short: socket paths are limited to 108 bytes.
        Self {
            socket: dir.path().join("s"),
            dir,
        }
    }

    fn with(session: &str, argv: &[&str]) -> Self {
        let sandbox = Self::empty();
        sandbox.session(session, argv);
        sandbox
    }

    fn session(&self, session: &str, argv: &[&str]) {
        let start = ["new-session", "-d", "-x", "80", "-y", "24", "-s", session];
        self.tmux(&[&start, argv].concat());
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = self.command().args(args).output().expect("tmux runs");
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout)
            .expect("UTF-8")
            .trim_end()
            .to_owned()
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tmux");
        command
            .args(["-u", "-f", "/dev/null", "-S"])
            .arg(&self.socket);
        command
            .env_remove("TMUX")
            .env_remove("TMUX_PANE")
            .current_dir(self.dir.path());
        command
    }

    fn program(&self) -> Program {
        Program::new("tmux", Socket::Path(self.socket.clone()))
    }

    /// Returns a driver for each of the two ways.
    async fn drivers(&self) -> [Server; 2] {
        [self.connected().await, Server::spawning(self.program())]
    }

    async fn connected(&self) -> Server {
        let mut server = Server::new(self.program());
        server.panes().await.expect("a list");
        assert!(server.is_connected());
        server
    }

    /// Waits until there are `count` holder sessions.
    async fn holders(&self, count: usize) {
        wait_for(&format!("{count} holders"), async || {
            let sessions = self.tmux(&["list-sessions", "-F", "#{?@assigner_holder,holder,}"]);
            (sessions.lines().filter(|&name| name == "holder").count() == count).then_some(())
        })
        .await;
    }

    /// Kills the only control client.
    fn kill_client(&self) {
        let pid = self
            .tmux(&["list-clients", "-F", "#{client_pid}"])
            .parse()
            .expect("a pid");
        let pid = Pid::from_raw(pid).expect("a pid");
        kill_process(pid, Signal::KILL).expect("killed");
    }

    /// Returns a path that is hard to quote.
    fn hostile(&self, name: &str) -> PathBuf {
        let dir = self
            .dir
            .path()
            .join(r#"a b'c"d#{pid}##[x]#%H;$HOME~`id`\é🚀 {}"#);
        std::fs::create_dir_all(&dir).expect("a directory");
        dir.join(name)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.command().arg("kill-server").output();
    }
}

/// Polls until `look` finds something.
async fn wait_for<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn only(server: &mut Server) -> Pane {
    let mut panes = server.panes().await.expect("a list");
    assert_eq!(panes.len(), 1, "{panes:?}");
    panes.remove(0)
}

/// Returns the pane as soon as its program shows something.
async fn awake(server: &mut Server) -> Pane {
    wait_for("the program to show something", async || {
        let pane = only(server).await;
        (pane.cursor != (0, 0)).then_some(pane)
    })
    .await
}

/// Returns the pane once its shell has drawn its prompt.
async fn at_prompt(server: &mut Server, prompt: &str) -> Pane {
    wait_for("the prompt", async || {
        let pane = only(server).await;
        let line = server
            .cursor_lines(&[&pane])
            .await
            .expect("lines")
            .remove(0)?;
        (line.before.ends_with(prompt) && line.after.is_empty()).then_some(pane)
    })
    .await
}

fn line(pane: &Pane, text: impl Into<String>) -> TypedLine {
    TypedLine {
        key: None,
        identity: pane.identity.clone(),
        cursor: pane.cursor,
        text: text.into(),
        pipe: None,
    }
}

async fn type_one(server: &mut Server, line: TypedLine) -> Typed {
    let mut typed = server.type_lines(&[line]).await;
    assert_eq!(typed.len(), 1);
    typed.remove(0)
}

async fn refusal(server: &mut Server, line: TypedLine) -> Refusal {
    match type_one(server, line).await {
        Typed::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// Reads a file once it has at least `length` bytes.
async fn file(path: &Path, length: usize) -> Vec<u8> {
    wait_for(&path.display().to_string(), async || {
        std::fs::read(path)
            .ok()
            .filter(|bytes| bytes.len() >= length)
    })
    .await
}

#[tokio::test]
async fn no_server_is_told() {
    let sandbox = Sandbox::empty();
    for mut server in [
        Server::new(sandbox.program()),
        Server::spawning(sandbox.program()),
    ] {
        assert!(matches!(server.panes().await, Err(Error::NoServer)));
        assert!(!server.is_connected());
        let identity = Identity {
            server_pid: 1,
            server_start: 1,
            pane: PaneId::parse("%0").expect("an id"),
            pane_pid: 1,
        };
        let typed = server
            .type_lines(&[TypedLine {
                key: None,
                identity: identity.clone(),
                cursor: (0, 0),
                text: "x".into(),
                pipe: None,
            }])
            .await;
        assert!(
            matches!(&typed[..], [Typed::Refused(Refusal::Gone)]),
            "{typed:?}"
        );
        assert!(matches!(
            server.interrupt(&identity).await,
            Typed::Refused(Refusal::Gone)
        ));
        assert!(server.close_pipe(&identity).await.is_ok());
    }
    assert!(!sandbox.socket.exists(), "a server was started");
    let mut missing = Server::new(Program::new("/nonexistent/tmux", Socket::Default));
    assert!(matches!(missing.panes().await, Err(Error::Missing(_))));
}

#[tokio::test]
async fn sockets_are_reached_by_name() {
    let dir = TempDir::new().expect("a directory");
    let wrapper = dir.path().join("tmux");
    write_program(&wrapper, "#!/bin/sh\nprintf '%s\\n' \"$@\" >&2\nexit 1\n");
    for (text, expected) in [
        ("", "-u; -N; source"),
        ("a b", "-u; -N; -L; a b; source"),
        ("./x", "-u; -N; -S; ./x; source"),
    ] {
        let mut server = Server::new(Program::new(&wrapper, text.parse().expect("infallible")));
        match server.panes().await {
            Err(Error::Tmux(said)) => assert!(said.starts_with(expected), "{said}"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn panes_are_listed_both_ways_without_holders() {
    let hostile = "a\tb\nc\x1b[31m \\ é #{pid} %H \"x\" 'q' ; $HOME ~ {}";
    let sandbox = Sandbox::with(
        hostile,
        &["bash", "-c", "exec -a $'evil\\nassigner\\t%end' sleep 1000"],
    );
    sandbox.session("empty", &["cat", "-"]);
    sandbox.tmux(&["split-window", "-d", "-t", "empty:", "cat", "-"]);
    sandbox.tmux(&["link-window", "-d", "-s", "empty:", "-t", "empty:7"]);
    let [mut control, mut spawning] = sandbox.drivers().await;
    let mut second = sandbox.connected().await;
    assert_eq!(
        sandbox.tmux(&["list-sessions"]).lines().count(),
        4,
        "two of them are holders"
    );

    let panes = wait_for("the name", async || {
        let panes = control.panes().await.expect("a list");
        panes
            .iter()
            .any(|pane| pane.command.starts_with("evil"))
            .then_some(panes)
    })
    .await;
    assert_eq!(panes, spawning.panes().await.expect("a list"));
    assert_eq!(panes, second.panes().await.expect("a list"));
    assert_eq!(panes.len(), 3);
    let evil = panes
        .iter()
        .find(|pane| pane.session != "empty")
        .expect("the hostile one");
    assert_eq!(evil.command, "evil\nassigner\t%end");
    assert!(
        evil.session.starts_with(r"a\tb\nc\033[31m \\ é "),
        "{}",
        evil.session
    );
    assert!(!evil.session.contains(char::is_control));
    let cat = panes
        .iter()
        .find(|pane| pane.session == "empty" && pane.pane_index == 1)
        .expect("the split");
    assert_eq!(
        (cat.window_index, cat.dead, cat.watched_until),
        (0, false, None)
    );
    assert!(cat.tty.starts_with("/dev"));
    assert_eq!(
        std::fs::read(format!("/proc/{}/comm", cat.identity.pane_pid)).unwrap_or_default(),
        b"cat\n"
    );
}

#[tokio::test]
async fn a_person_who_looks_is_seen() {
    let sandbox = Sandbox::with("work", &["cat", "-"]);
    sandbox.tmux(&["split-window", "-t", "work:", "cat", "-"]);
    let mut person = sandbox.command();
    person.args(["-C", "attach", "-f", "no-output", "-t", "work"]);
    let mut person = person
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("attached");
    for mut server in sandbox.drivers().await {
        let panes = wait_for("the client", async || {
            let panes = server.panes().await.expect("a list");
            panes
                .iter()
                .any(|pane| pane.watched_until.is_some())
                .then_some(panes)
        })
        .await;
        let watched: Vec<_> = panes
            .iter()
            .map(|pane| pane.watched_until.is_some())
            .collect();
        assert_eq!(watched, [false, true], "the active pane alone");
        assert!(panes[1].watched_until > Some(panes[1].identity.server_start - 1));
    }
    drop(person.stdin.take());
    person.wait().expect("ended");
}

#[tokio::test]
async fn lines_arrive_in_every_shell_and_run() {
    for way in 0..2 {
        let shells: [(&str, &[&str]); 5] = [
            ("bash", &["bash", "--norc", "--noprofile"]),
            ("zsh", &["zsh", "-f"]),
            ("fish", &["fish", "--no-config"]),
            ("dash", &["dash"]),
            ("sh", &["bash", "--posix", "--norc"]),
        ];
        let sandbox = Sandbox::empty();
        for (name, argv) in shells {
            sandbox.session(name, &[&["env", "PS1=ready> "], argv].concat());
        }
        let mut server = sandbox
            .drivers()
            .await
            .into_iter()
            .nth(way)
            .expect("two ways");
        let panes = wait_for("all prompts", async || {
            let panes = server.panes().await.expect("a list");
            let lines = server
                .cursor_lines(&panes.iter().collect::<Vec<_>>())
                .await
                .expect("lines");
            let ready = |line: &Option<CursorLine>| {
                line.as_ref().is_some_and(|line| {
                    line.before.ends_with(['>', '#', ' '])
                        && line.before.trim_end().ends_with(['>', '#'])
                })
            };
            lines.iter().all(ready).then_some(panes)
        })
        .await;
        let job = |pane: &Pane| sandbox.hostile(&format!("{}.{way}", pane.session));
        let lines: Vec<_> = panes
            .iter()
            .map(|pane| {
                let quoted = job(pane)
                    .display()
                    .to_string()
                    .replace('\\', r"\\")
                    .replace('\'', r"\'");
                // fish and POSIX shells have only this much syntax in common.
                let text = if pane.session == "fish" {
                    format!("echo ran '~ #{{pid}} %H;' > '{quoted}'")
                } else {
                    let quoted = job(pane).display().to_string().replace('\'', r"'\''");
                    format!("echo ran '~ #{{pid}} %H;' > '{quoted}'")
                };
                line(pane, text)
            })
            .collect();
        for typed in server.type_lines(&lines).await {
            assert!(matches!(typed, Typed::Done), "{typed:?}");
        }
        for pane in &panes {
            assert_eq!(
                file(&job(pane), 17).await,
                b"ran ~ #{pid} %H;\n",
                "{}",
                pane.session
            );
        }
        assert_eq!(
            sandbox.tmux(&["list-buffers"]),
            "",
            "no copy of a line stays"
        );
    }
}

#[tokio::test]
async fn every_byte_arrives() {
    let sandbox = Sandbox::empty();
    let out = sandbox.hostile("bytes");
    sandbox.session(
        "cat",
        &[
            "sh",
            "-c",
            "stty -echo; printf x; exec cat > \"$0\"",
            out.to_str().expect("UTF-8"),
        ],
    );
    let mut expected = Vec::new();
    for (turn, mut server) in sandbox.drivers().await.into_iter().enumerate() {
        for text in [
            "plain",
            ";",
            "a;",
            r"\;",
            r"~ $HOME ${HOME} #{pid} ##[x] #(id) %H %% %0 `id` !! \ ' '' ; } { \u00e9 é🚀",
            "-l",
            "'",
            r"\'",
            "   padded   ",
            "# comment",
            &"x".repeat(MAX_LINE),
        ] {
            let pane = awake(&mut server).await;
            let typed = type_one(&mut server, line(&pane, text)).await;
            assert!(matches!(typed, Typed::Done), "{turn} {text:?}: {typed:?}");
            expected.extend_from_slice(text.as_bytes());
            expected.push(b'\n');
            assert_eq!(
                file(&out, expected.len()).await,
                expected,
                "{turn} {text:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_paste_is_bracketed_where_that_is_asked_for() {
    let sandbox = Sandbox::with(
        "raw",
        &[
            "sh",
            "-c",
            r"stty raw -echo; printf '\033[?2004hx'; exec cat -v",
        ],
    );
    let mut server = sandbox.connected().await;
    let pane = awake(&mut server).await;
    assert!(matches!(
        type_one(&mut server, line(&pane, "a b")).await,
        Typed::Done
    ));
    wait_for("the brackets", async || {
        let tail = server.tail(&pane.identity, 5).await.expect("a tail");
        (tail == "x^[[200~a b^[[201~^M").then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_refusal_is_provoked() {
    let sandbox = Sandbox::with("cat", &["sh", "-c", "printf x; exec cat"]);
    sandbox.tmux(&[
        "split-window",
        "-d",
        "-t",
        "cat:",
        "sh",
        "-c",
        "printf y; exec cat",
    ]);
    let drivers = sandbox.drivers().await;
    for mut server in drivers {
        let panes = wait_for("both", async || {
            let panes = server.panes().await.expect("a list");
            panes
                .iter()
                .all(|pane| pane.cursor == (1, 0))
                .then_some(panes)
        })
        .await;
        let (pane, other) = (&panes[0], &panes[1]);
        let id = pane.identity.pane.as_str();
        let text = line(pane, "never");
        let key = async |server: &mut Server, refusal: Refusal| match server
            .interrupt(&pane.identity)
            .await
        {
            Typed::Refused(refused) => assert_eq!(refused, refusal),
            other => panic!("{other:?}"),
        };

        sandbox.tmux(&["copy-mode", "-t", id]);
        assert_eq!(refusal(&mut server, text.clone()).await, Refusal::Mode);
        key(&mut server, Refusal::Mode).await;
        assert!(server.panes().await.expect("a list")[0].in_mode);
        sandbox.tmux(&["send-keys", "-t", id, "-X", "cancel"]);

        sandbox.tmux(&["select-pane", "-d", "-t", id]);
        assert_eq!(refusal(&mut server, text.clone()).await, Refusal::InputOff);
        key(&mut server, Refusal::InputOff).await;
        assert!(server.panes().await.expect("a list")[0].input_off);
        sandbox.tmux(&["select-pane", "-e", "-t", id]);

        sandbox.tmux(&["set-option", "-t", "cat:", "synchronize-panes", "on"]);
        assert_eq!(
            refusal(&mut server, text.clone()).await,
            Refusal::Synchronized
        );
        key(&mut server, Refusal::Synchronized).await;
        assert!(
            server
                .panes()
                .await
                .expect("a list")
                .iter()
                .all(|pane| pane.synchronized)
        );
        sandbox.tmux(&["set-option", "-t", "cat:", "synchronize-panes", "off"]);

        let moved = TypedLine {
            cursor: (2, 0),
            ..text.clone()
        };
        assert_eq!(refusal(&mut server, moved).await, Refusal::CursorMoved);

        let piped = TypedLine {
            pipe: Some(Pipe {
                argv: vec!["/bin/cat".into()],
            }),
            ..text.clone()
        };
        sandbox.tmux(&["pipe-pane", "-t", id, "cat > /dev/null"]);
        assert_eq!(refusal(&mut server, piped).await, Refusal::Piped);
        assert!(server.panes().await.expect("a list")[0].piped);
        server.close_pipe(&pane.identity).await.expect("closed");
        assert!(!server.panes().await.expect("a list")[0].piped);

        let mut identity = pane.identity.clone();
        identity.pane_pid += 1;
        assert_eq!(
            refusal(
                &mut server,
                TypedLine {
                    identity,
                    ..text.clone()
                }
            )
            .await,
            Refusal::Respawned
        );
        for change in [
            |identity: &mut Identity| identity.server_pid += 1,
            |identity: &mut Identity| identity.server_start -= 1,
            |identity: &mut Identity| identity.pane = PaneId::parse("%999").expect("an id"),
        ] {
            let mut identity = pane.identity.clone();
            change(&mut identity);
            assert!(matches!(
                server.tail(&identity, 3).await,
                Err(Error::Gone(_))
            ));
            server
                .close_pipe(&identity)
                .await
                .expect("nothing to close");
            assert!(matches!(
                server.interrupt(&identity).await,
                Typed::Refused(Refusal::Gone)
            ));
            assert_eq!(
                refusal(
                    &mut server,
                    TypedLine {
                        identity,
                        ..text.clone()
                    }
                )
                .await,
                Refusal::Gone
            );
        }
        assert!(matches!(
            refusal(&mut server, line(pane, "a\nb")).await,
            Refusal::Unfit(_)
        ));

        for (pane, shown) in [(pane, "x"), (other, "y")] {
            assert_eq!(
                server.tail(&pane.identity, 5).await.expect("a tail"),
                shown,
                "nothing was typed"
            );
        }
        assert_eq!(sandbox.tmux(&["list-buffers"]), "");
        // One invalid line in a batch does not affect the others.
        let typed = server
            .type_lines(&[
                line(pane, ""),
                line(other, "good"),
                TypedLine {
                    cursor: (9, 9),
                    ..text
                },
            ])
            .await;
        assert!(
            matches!(
                &typed[..],
                [
                    Typed::Refused(Refusal::Unfit(_)),
                    Typed::Done,
                    Typed::Refused(Refusal::CursorMoved)
                ]
            ),
            "{typed:?}"
        );
        sandbox.tmux(&["respawn-pane", "-k", "-t", other.identity.pane.as_str()]);
    }
}

#[tokio::test]
async fn dead_and_respawned_panes_are_refused() {
    let sandbox = Sandbox::with("keeper", &["cat", "-"]);
    sandbox.tmux(&["set-option", "-g", "remain-on-exit", "on"]);
    sandbox.session("dies", &["sh", "-c", "printf x; read line; exit 7"]);
    for mut server in sandbox.drivers().await {
        let find = async |server: &mut Server, wanted: fn(&Pane) -> bool| {
            wait_for("the pane", async || {
                let panes = server.panes().await.expect("a list");
                panes
                    .into_iter()
                    .find(|pane| pane.session == "dies" && wanted(pane))
            })
            .await
        };
        let pane = find(&mut server, |pane| !pane.dead && pane.cursor == (1, 0)).await;
        assert!(matches!(
            type_one(&mut server, line(&pane, "bye")).await,
            Typed::Done
        ));
        let dead = find(&mut server, |pane| pane.dead).await;
        assert_eq!(dead.identity, pane.identity);
        assert_eq!(
            refusal(&mut server, line(&dead, "never")).await,
            Refusal::Dead
        );
        assert!(matches!(
            server.interrupt(&dead.identity).await,
            Typed::Refused(Refusal::Dead)
        ));
        let tail = server.tail(&dead.identity, 20).await.expect("a tail");
        assert!(tail.contains("bye"), "{tail:?} {dead:?}");
        sandbox.tmux(&["respawn-pane", "-t", dead.identity.pane.as_str()]);
        let again = find(&mut server, |pane| !pane.dead && pane.cursor == (1, 0)).await;
        assert_ne!(again.identity, dead.identity);
        assert_eq!(
            refusal(&mut server, line(&pane, "never")).await,
            Refusal::Respawned
        );
    }
}

#[tokio::test]
async fn the_output_reaches_the_pipe_whole() {
    for way in 0..2 {
        let sandbox = Sandbox::with("bash", &["env", "PS1=> ", "bash", "--norc", "--noprofile"]);
        let mut server = sandbox
            .drivers()
            .await
            .into_iter()
            .nth(way)
            .expect("two ways");
        let out = sandbox.hostile("pipe");
        let argv = [
            "sh",
            "-c",
            "exec cat > \"$0\"",
            out.to_str().expect("UTF-8"),
        ];
        let pane = at_prompt(&mut server, "> ").await;
        let job = TypedLine {
            pipe: Some(Pipe {
                argv: argv.map(str::to_owned).to_vec(),
            }),
            ..line(&pane, "seq 1 20000; printf 'the''end'")
        };
        let typed = type_one(&mut server, job).await;
        assert!(matches!(typed, Typed::Done), "{typed:?}");
        let printed = wait_for("the end", async || {
            std::fs::read_to_string(&out)
                .ok()
                .filter(|text| text.contains("theend"))
        })
        .await;
        let expected: String = (1..=20_000).map(|number| format!("{number}\r\n")).collect();
        assert!(printed.contains(&expected));
        assert!(only(&mut server).await.piped);
        server.close_pipe(&pane.identity).await.expect("closed");
        assert!(!only(&mut server).await.piped);
    }
}

#[tokio::test]
async fn ctrl_c_interrupts() {
    let sandbox = Sandbox::with("bash", &["env", "PS1=> ", "bash", "--norc", "--noprofile"]);
    for mut server in sandbox.drivers().await {
        let pane = at_prompt(&mut server, "> ").await;
        assert!(matches!(
            type_one(&mut server, line(&pane, "sleep 1000")).await,
            Typed::Done
        ));
        wait_for("sleep", async || {
            (only(&mut server).await.command == "sleep").then_some(())
        })
        .await;
        assert!(matches!(
            server.interrupt(&pane.identity).await,
            Typed::Done
        ));
        wait_for("bash", async || {
            (only(&mut server).await.command == "bash").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn tails_are_joined_and_plain() {
    let script = r"printf '\033[31mred\033[0m\n\n'; printf '%0100d\nlast  \n\n' 7; exec cat";
    let sandbox = Sandbox::with("cat", &["sh", "-c", script]);
    for mut server in sandbox.drivers().await {
        let pane = awake(&mut server).await;
        let long = format!("{:0100}", 7);
        let tail = wait_for("all of it", async || {
            Some(server.tail(&pane.identity, 3).await.expect("a tail"))
                .filter(|tail| tail.ends_with("last"))
        })
        .await;
        assert_eq!(tail, format!("red\n{long}\nlast"));
        assert_eq!(
            server.tail(&pane.identity, 2).await.expect("a tail"),
            format!("{long}\nlast")
        );
        assert_eq!(server.tail(&pane.identity, 0).await.expect("a tail"), "");
    }
}

#[tokio::test]
async fn cursor_lines_are_those_of_the_list() {
    let sandbox = Sandbox::with(
        "cat",
        &[
            "sh",
            "-c",
            "stty -echo; printf '\\n日本$ typed\\033[5D'; exec cat",
        ],
    );
    for mut server in sandbox.drivers().await {
        let pane = wait_for("the line", async || {
            Some(only(&mut server).await).filter(|pane| pane.cursor == (6, 1))
        })
        .await;
        let moved = Pane {
            cursor: (5, 1),
            ..pane.clone()
        };
        let mut gone = pane.clone();
        gone.identity.pane = PaneId::parse("%999").expect("an id");
        let lines = server
            .cursor_lines(&[&gone, &pane, &moved])
            .await
            .expect("lines");
        let expected = CursorLine {
            before: "日本$ ".into(),
            after: "typed".into(),
            above: vec![String::new()],
            below: vec![String::new(); 4],
        };
        assert_eq!(lines, [None, Some(expected), None]);
        assert!(server.cursor_lines(&[]).await.expect("none").is_empty());
    }
}

/// A pane can print what looks like the end of an answer, but it is not believed.
#[tokio::test]
async fn a_screen_cannot_forge_an_answer() {
    let sandbox = Sandbox::with("cat", &["sh", "-c", "stty -echo; printf x; exec cat"]);
    let mut server = sandbox.connected().await;
    awake(&mut server).await;
    // The guard of the next block is easy to guess, here by trying many.
    let now = sandbox
        .tmux(&["display-message", "-p", "%s"])
        .parse::<i64>()
        .expect("seconds");
    let guesses = (now..now + 5)
        .flat_map(|time| (200..1_500).map(move |number| format!("%end {time} {number} 1\n")));
    let forged = guesses.collect::<String>() + "assigner end\n";
    sandbox.tmux(&["set-option", "-g", "history-limit", "10000"]);
    let path = sandbox.dir.path().join("forged");
    std::fs::write(&path, forged).expect("written");
    sandbox.session(
        "forger",
        &[
            "sh",
            "-c",
            "cat \"$0\"; printf stop; exec cat",
            path.to_str().expect("UTF-8"),
        ],
    );
    let tail = wait_for("all of it", async || {
        let panes = server.panes().await.expect("a list");
        let forger = panes.into_iter().find(|pane| pane.session == "forger")?;
        let tail = server.tail(&forger.identity, 10_000).await.expect("a tail");
        tail.ends_with("stop").then_some(tail)
    })
    .await;
    assert!(
        tail.starts_with("%end ") && tail.ends_with("assigner end\nstop"),
        "{} bytes",
        tail.len()
    );
    assert!(
        !server.is_connected(),
        "no guess was right, and nothing was tested"
    );
    assert_eq!(server.panes().await.expect("a list").len(), 2);
}

#[tokio::test]
async fn the_holder_goes_with_its_client() {
    let sandbox = Sandbox::with("work", &["cat", "-"]);
    let server = sandbox.connected().await;
    sandbox.holders(1).await;
    drop(server);
    sandbox.holders(0).await;

    let server = sandbox.connected().await;
    sandbox.kill_client();
    sandbox.holders(0).await;
    drop(server);
}

/// When assigner itself is killed, nothing is dropped: the client sees its input end.
#[tokio::test]
async fn the_holder_goes_with_its_process() {
    let sandbox = Sandbox::with("work", &["cat", "-"]);
    // It is killed at another point of its work each time.
    for _ in 0..10 {
        let mut assigner = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "tmux::tests::a_process_that_connects"])
            .env(CONNECT_TO, &sandbox.socket)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("started");
        sandbox.holders(1).await;
        assigner.kill().expect("killed");
        assigner.wait().expect("reaped");
        sandbox.holders(0).await;
        let names = sandbox.tmux(&["list-sessions", "-F", "#{session_name}"]);
        assert_eq!(names, "work");
    }
}

const CONNECT_TO: &str = "ASSIGNER_TEST_CONNECT_TO";

/// The process that the test above starts. Without its variable, it does nothing.
#[tokio::test]
async fn a_process_that_connects() {
    if let Some(socket) = std::env::var_os(CONNECT_TO) {
        let mut server = Server::new(Program::new("tmux", Socket::Path(socket.into())));
        let deadline = Instant::now() + PATIENCE;
        // Answers must be outstanding when it is killed: that once crashed a server.
        while Instant::now() < deadline {
            server.panes().await.expect("a list");
            assert!(server.is_connected());
        }
    }
}

#[tokio::test]
async fn a_killed_client_is_replaced_and_nothing_is_lost() {
    let sandbox = Sandbox::with("cat", &["sh", "-c", "stty -echo; printf x; exec cat"]);
    let mut server = sandbox.connected().await;
    let pane = awake(&mut server).await;
    for (turn, text) in ["one", "two"].into_iter().enumerate() {
        sandbox.kill_client();
        // Wait until tmux has noticed, because otherwise the outcome of a line could rightly be
        // unknown.
        wait_for("the end of the client", async || {
            sandbox.tmux(&["list-clients"]).is_empty().then_some(())
        })
        .await;
        let typed = type_one(
            &mut server,
            TypedLine {
                cursor: only_cursor(&sandbox),
                ..line(&pane, text)
            },
        )
        .await;
        match typed {
            // Written to a pipe whose other end tmux had not closed yet: it is never sent again.
            Typed::Unknown(_) => {}
            Typed::Done => {
                wait_for("the text", async || {
                    let tail = server.tail(&pane.identity, 9).await.expect("a tail");
                    (tail.matches(text).count() == 1).then_some(())
                })
                .await;
            }
            Typed::Refused(refusal) => panic!("{turn}: {refusal}"),
        }
        assert_eq!(server.panes().await.expect("a list").len(), 1);
        wait_for("a new client", async || {
            server.panes().await.expect("a list");
            server.is_connected().then_some(())
        })
        .await;
    }
}

fn only_cursor(sandbox: &Sandbox) -> (u32, u32) {
    let text = sandbox.tmux(&[
        "display-message",
        "-p",
        "-t",
        "cat:",
        "#{cursor_x} #{cursor_y}",
    ]);
    let (column, row) = text.split_once(' ').expect("two numbers");
    (
        column.parse().expect("a number"),
        row.parse().expect("a number"),
    )
}

/// A client that does not answer is given up in time. Reading continues, typing is not repeated.
#[tokio::test]
async fn a_wedged_client_is_given_up() {
    let sandbox = Sandbox::with("cat", &["sh", "-c", "stty -echo; printf x; exec cat"]);
    let mut servers = [sandbox.connected().await, sandbox.connected().await];
    let pane = awake(&mut servers[0]).await;
    // Stopping the server blocks both ways at once; it resumes while the second one waits.
    let stop = |signal| {
        let pid = Pid::from_raw(pane.identity.server_pid.cast_signed()).expect("a pid");
        kill_process(pid, signal).expect("signalled");
    };
    let [reader, writer] = &mut servers;
    stop(Signal::STOP);
    let wake = async {
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        stop(Signal::CONT);
    };
    let lines = [line(&pane, "once")];
    let (panes, typed, ()) = tokio::join!(reader.panes(), writer.type_lines(&lines), wake);
    assert_eq!(panes.expect("a list").len(), 1);
    assert!(
        matches!(&typed[..], [Typed::Unknown(Error::TimedOut(_))]),
        "{typed:?}"
    );
    assert!(!reader.is_connected() && !writer.is_connected());
    // tmux may have received it after all, but not twice.
    let tail = writer.tail(&pane.identity, 9).await.expect("a tail");
    assert!(tail.matches("once").count() <= 1, "{tail}");
}

/// A request that is dropped half-way must not leave its answer to the next one.
#[tokio::test]
async fn a_dropped_request_harms_nothing() {
    let sandbox = Sandbox::with("cat", &["cat", "-"]);
    let mut server = sandbox.connected().await;
    let _ = tokio::time::timeout(Duration::ZERO, server.panes()).await;
    assert_eq!(server.panes().await.expect("a list").len(), 1);
    let _ = tokio::time::timeout(Duration::ZERO, server.changed()).await;
    assert_eq!(server.panes().await.expect("a list").len(), 1);
}

#[tokio::test]
async fn changes_are_announced() {
    let sandbox = Sandbox::with("work", &["cat", "-"]);
    let mut server = sandbox.connected().await;
    server.panes().await.expect("a list");
    // The changes that the connection itself caused have been reported by now.
    while tokio::time::timeout(Duration::from_millis(100), server.changed())
        .await
        .is_ok()
    {}
    for change in [
        &["new-session", "-d", "-s", "more", "cat", "-"][..],
        &["rename-session", "-t", "more", "other"],
        &["new-window", "-d", "-t", "other:", "cat", "-"],
        &["kill-window", "-t", "other:1"],
        &["kill-session", "-t", "other"],
    ] {
        sandbox.tmux(change);
        tokio::time::timeout(PATIENCE, server.changed())
            .await
            .unwrap_or_else(|_| panic!("not told of {change:?}"));
        server.panes().await.expect("a list");
    }
    assert!(server.is_connected());
}

#[tokio::test]
async fn the_end_of_the_server_is_noticed_and_the_next_one_found() {
    let sandbox = Sandbox::with("work", &["cat", "-"]);
    let mut server = sandbox.connected().await;
    let before = only(&mut server).await;
    sandbox.tmux(&["kill-server"]);
    tokio::time::timeout(PATIENCE, async {
        while server.is_connected() {
            server.changed().await;
        }
    })
    .await
    .expect("it is noticed");
    wait_for("the end", async || {
        matches!(server.panes().await, Err(Error::NoServer)).then_some(())
    })
    .await;
    sandbox.session("work", &["cat", "-"]);
    let after = only(&mut server).await;
    assert!(server.is_connected());
    assert_ne!(before.identity, after.identity);
    assert_eq!(
        refusal(&mut server, line(&before, "never")).await,
        Refusal::Gone
    );
}

/// A holder must not keep a server alive that has nothing else left.
#[tokio::test]
async fn a_server_may_end_while_assigner_watches() {
    let sandbox = Sandbox::with("work", &["cat", "-"]);
    let mut servers = [sandbox.connected().await, sandbox.connected().await];
    sandbox.tmux(&["kill-session", "-t", "work"]);
    for server in &mut servers {
        match server.panes().await {
            Ok(panes) => assert!(panes.is_empty()),
            Err(error) => assert!(matches!(error, Error::NoServer), "{error}"),
        }
    }
    wait_for("the end of the server", async || {
        matches!(servers[0].panes().await, Err(Error::NoServer)).then_some(())
    })
    .await;
}

/// A session to be started whose texts are hard to quote.
fn new_session(sandbox: &Sandbox, name: &str, command: &[&str]) -> NewSession {
    let file = sandbox.hostile("file");
    let directory = file.parent().expect("a directory");
    let hostile = r#"a b'c"d#{pid}##[x]#%H;$HOME~`id`\é🚀 {};"#;
    NewSession {
        name: name.to_owned(),
        directory: directory.to_str().expect("UTF-8").to_owned(),
        command: command.iter().map(|&word| word.to_owned()).collect(),
        variables: [("HOSTILE".to_owned(), hostile.to_owned())].into(),
        mark: Mark {
            pool: "p".to_owned(),
            owner: "/data #{pid},}'x;".to_owned(),
        },
    }
}

/// Waits until there is a session whose pane shows a text, and returns it.
async fn session_that_shows(server: &mut Server, name: &str, text: &str) -> Session {
    wait_for(&format!("{name} to show {text:?}"), async || {
        let sessions = server.sessions().await.ok()?;
        let session = sessions.into_iter().find(|session| session.name == name)?;
        let shown = server.tail(&session.pane, 20).await.ok()?;
        shown.contains(text).then_some(session)
    })
    .await
}

#[tokio::test]
async fn a_session_is_started_as_it_is_told() {
    let sandbox = Sandbox::empty();
    // The first one starts the server.
    let mut server = Server::new(sandbox.program());
    let first = new_session(
        &sandbox,
        "p-1",
        &["printf '%s|' \"$HOSTILE\" \"$PWD\"; exec cat;"],
    );
    server.start_session(&first).await.expect("started");
    let shown = format!("{}|{}|", first.variables["HOSTILE"], first.directory);
    let session = session_that_shows(&mut server, "p-1", &shown).await;
    assert_eq!(session.mark, Some(first.mark.clone()));
    assert!(session.is_alone() && !session.dead && !session.up);
    for (index, mut driver) in sandbox.drivers().await.into_iter().enumerate() {
        let name = format!("q-{index}");
        // tmux may lose the output of a program that ends at once.
        let script = "printf '%s|' \"$@\"; sleep 0.3;";
        let words = ["sh", "-c", script, "sh", "a;", "b #{pid}", ";"];
        let new = new_session(&sandbox, &name, &words);
        driver.start_session(&new).await.expect("started");
        let session = session_that_shows(&mut driver, &name, "a;|b #{pid}|;|").await;
        wait_for("the end of the program", async || {
            let sessions = driver.sessions().await.ok()?;
            let same = |listed: &&Session| listed.id == session.id;
            sessions.iter().find(same)?.dead.then_some(())
        })
        .await;
        let again = driver.start_session(&new).await;
        assert!(matches!(again, Err(Error::Tmux(said)) if said.contains("duplicate")));
        for (name, directory, command) in [
            ("a.b", "/", "cat"),
            ("a", "here", "cat"),
            ("a", "/", "a\nb"),
            ("", "/", "cat"),
        ] {
            let unfit = NewSession {
                name: name.to_owned(),
                directory: directory.to_owned(),
                command: vec![command.to_owned()],
                ..new.clone()
            };
            assert!(
                driver.start_session(&unfit).await.is_err(),
                "{name} {command}"
            );
        }
    }
    // Sessions of others have no mark, and holders are left out.
    sandbox.session("theirs", &["cat"]);
    let sessions = server.sessions().await.expect("a list");
    let unmarked = sessions.iter().filter(|session| session.mark.is_none());
    let unmarked: Vec<&str> = unmarked.map(|session| session.name.as_str()).collect();
    assert_eq!(unmarked, ["theirs"]);
}

#[tokio::test]
async fn a_session_is_ended_only_as_it_was_listed() {
    let sandbox = Sandbox::with("keeper", &["cat"]);
    for (index, mut driver) in sandbox.drivers().await.into_iter().enumerate() {
        let name = format!("p-{index}");
        let target = format!("={name}:");
        let new = new_session(&sandbox, &name, &["exec cat"]);
        driver.start_session(&new).await.expect("started");
        let listed = async |driver: &mut Server| {
            let sessions = driver.sessions().await.expect("a list");
            sessions.into_iter().find(|session| session.name == name)
        };
        let session = listed(&mut driver).await.expect("a session");
        let refused = async |driver: &mut Server, session: &Session| {
            let ended = driver.end_session(session).await.expect("an answer");
            assert!(!ended);
        };
        assert!(driver.mark_up(&session).await.expect("an answer"));
        assert!(listed(&mut driver).await.is_some_and(|session| session.up));
        // Somebody types there, adds a window, links it or attaches, or it is another program.
        sandbox.tmux(&["send-keys", "-t", &target, "x"]);
        sandbox.tmux(&["run-shell", "sleep 0.3"]);
        refused(&mut driver, &session).await;
        let session = listed(&mut driver).await.expect("a session");
        sandbox.tmux(&["new-window", "-d", "-t", &target, "cat"]);
        refused(&mut driver, &session).await;
        let crowded = listed(&mut driver).await.expect("a session");
        assert!(!crowded.is_alone());
        refused(&mut driver, &crowded).await;
        sandbox.tmux(&["kill-window", "-t", &format!("{target}1")]);
        let group = format!("group-{index}");
        sandbox.tmux(&["new-session", "-d", "-s", &group, "-t", &target]);
        refused(&mut driver, &session).await;
        assert!(
            listed(&mut driver)
                .await
                .is_some_and(|session| session.shared)
        );
        sandbox.tmux(&["kill-session", "-t", &group]);
        let mut client = sandbox
            .command()
            .args(["-C", "attach-session", "-f", "ignore-size", "-t", &target])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("a client");
        wait_for("the client", async || {
            listed(&mut driver)
                .await
                .filter(|session| session.clients == 1)
        })
        .await;
        refused(&mut driver, &session).await;
        client.kill().expect("killed");
        client.wait().expect("its end");
        wait_for("the client's end", async || {
            listed(&mut driver)
                .await
                .filter(|session| session.clients == 0)
        })
        .await;
        sandbox.tmux(&["respawn-pane", "-k", "-t", &target, "exec cat"]);
        refused(&mut driver, &session).await;
        let session = listed(&mut driver).await.expect("a session");
        assert!(driver.end_session(&session).await.expect("an answer"));
        assert!(listed(&mut driver).await.is_none());
        refused(&mut driver, &session).await;
        assert!(!driver.mark_up(&session).await.expect("an answer"));
    }
    // The last session takes the server with it.
    let mut server = Server::spawning(sandbox.program());
    sandbox.tmux(&["kill-session", "-t", "keeper"]);
    let only = new_session(&sandbox, "p-9", &["exec cat"]);
    server.start_session(&only).await.expect("started");
    let session = session_that_shows(&mut server, "p-9", "").await;
    assert!(server.end_session(&session).await.expect("an answer"));
}
