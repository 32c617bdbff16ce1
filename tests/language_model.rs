//! A model on loopback for the agents of the tests.
//!
//! It speaks the Responses API, chat completions, the Messages API ([`messages_api`]) and the Gemini
//! API, each as far as an agent needs it for whole turns, and remembers what it was asked. Words in
//! the prompt control what it does:
//!
//! | word | it |
//! |---|---|
//! | `SLOW=MS` | waits this long before it answers |
//! | `HOLD` | answers when the test calls [`Model::release`] |
//! | `ASK` | wants to run `touch asked` first, which a person must approve |
//! | `QUESTION` | ends in a question |
//! | `FILE` | answers with 400 long lines of markdown |
//! | `LIMIT` | refuses, as a usage limit does, until [`Model::forgive`] |
//! | `LIMIT-ONCE` | refuses in this way the first time that it sees the prompt |
//! | `ERROR` | refuses as a bad request |
//! | `DENY` | refuses the key |

mod chat_completions;
mod gemini_api;
mod messages_api;
mod responses_api;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::World;
use crate::harness::agents::{patiently, task_becomes};
use chat_completions::chat;
use responses_api::responses;

/// How much of a prompt is in its answer, in characters.
const ECHO: usize = 3_000;
/// The number of seconds until a usage limit ends: longer than a test.
const RESET: i64 = 3_600;
/// The longest request that is read; agents send the whole conversation each time.
const LONGEST: u64 = 64 << 20;
/// Longer than any test.
const HELD: Duration = Duration::from_secs(600);

/// Returns the model's answer to a prompt.
pub(crate) fn answer(prompt: &str) -> String {
    let script = Script::of(prompt);
    let echo: String = prompt.trim().chars().take(ECHO).collect();
    let mut answer = format!("the answer to: {echo}");
    if script.file {
        answer.push_str("\n\n# A *long* answer\n");
        for number in 0..400 {
            // Each line is wider than the pane, and begins with something that a renderer changes.
            let begin = ["", "* ", "1. ", "    ", "| a | `b` | ", "## "][number % 6];
            let words = "words that go on, **bold** and _not_, ".repeat(5);
            write!(answer, "\n{begin}line {number}: {words}\tend").expect("a string");
        }
        answer
            .push_str("\n\n```rust\nfn main() {}\n\n\n```\n\n  last line, and a blank at its end ");
    }
    if script.question {
        answer.push_str("\n\nI have looked at it.\n\nShall I go on?");
    }
    answer
}

/// What an agent asked the model in one turn.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    /// The conversation; agents that name none have only one.
    pub(crate) thread: String,
    /// Distinguishes turns, even those with the same prompt.
    pub(crate) turn: String,
    /// The agent's directory, as the agent states it.
    pub(crate) cwd: Option<String>,
    /// The last words of a person, unchanged.
    pub(crate) prompt: String,
    /// How many requests the agent made: more than one if a tool ran or it tried again.
    pub(crate) requests: usize,
    /// The final answer.
    pub(crate) answer: Option<String>,
    /// When the first request arrived.
    pub(crate) asked_at: Timestamp,
    /// When the final answer had been sent.
    pub(crate) answered_at: Option<Timestamp>,
}

impl Turn {
    /// A turn whose first request arrives now.
    fn begins(thread: &str, turn: &str, cwd: Option<String>, prompt: &str) -> Self {
        Self {
            thread: thread.to_owned(),
            turn: turn.to_owned(),
            cwd,
            prompt: prompt.to_owned(),
            requests: 1,
            answer: None,
            asked_at: Timestamp::now(),
            answered_at: None,
        }
    }
}

/// The server. It ends, with all its connections, when this is dropped.
pub(crate) struct Model {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

impl Model {
    /// Starts a server on a free port.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || listen(&listener, &shared))
        };
        Self {
            address,
            shared,
            listener: Some(thread),
        }
    }

    /// Returns the address for an agent that speaks the Messages API or the Gemini API.
    pub(crate) fn root_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the address of the provider for an agent.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Returns all turns, in the order in which they began.
    pub(crate) fn turns(&self) -> Vec<Turn> {
        self.shared.state().turns.clone()
    }

    /// Returns the turns of a prompt. How much whitespace it has, and which, does not count, because
    /// agents trim it and make tabs blanks.
    pub(crate) fn turns_of(&self, prompt: &str) -> Vec<Turn> {
        let mut turns = self.turns();
        turns.retain(|turn| {
            let (asked, wanted) = (turn.prompt.split_whitespace(), prompt.split_whitespace());
            asked.eq(wanted)
        });
        turns
    }

    /// Waits until a prompt has arrived.
    #[track_caller]
    pub(crate) fn asked(&self, prompt: &str) -> Turn {
        patiently(|| {
            let found = self.turns_of(prompt).pop();
            found.ok_or_else(|| format!("no {prompt:?}: {:#?}", self.prompts()))
        })
    }

    /// Asserts that a prompt arrived in exactly one turn, and returns it.
    #[track_caller]
    pub(crate) fn once(&self, prompt: &str) -> Turn {
        let mut turns = self.turns_of(prompt);
        assert_eq!(turns.len(), 1, "{prompt:?}: {:#?}", self.prompts());
        turns.remove(0)
    }

    /// Returns all prompts, shortened.
    pub(crate) fn prompts(&self) -> Vec<String> {
        let turns = self.turns();
        let short = |turn: &Turn| turn.prompt.chars().take(80).collect();
        turns.iter().map(short).collect()
    }

    /// Sends the answers that are held, and holds nothing from now on.
    pub(crate) fn release(&self) {
        self.shared.state().released = true;
        self.shared.changed.notify_all();
    }

    /// Stops refusing because of `LIMIT`.
    pub(crate) fn forgive(&self) {
        self.shared.state().forgives = true;
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.shared.state().stops = true;
        self.shared.changed.notify_all();
        // The thread waits for a connection, so make one.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        if thread::panicking() {
            eprintln!("--- the model was asked\n{:#?}\n---", self.prompts());
        }
    }
}

/// What a prompt makes the model do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Script {
    slow: Duration,
    hold: bool,
    pub(crate) ask: bool,
    question: bool,
    file: bool,
    limit: bool,
    limit_once: bool,
    pub(crate) error: bool,
    pub(crate) deny: bool,
}

impl Script {
    /// Reads the words in a prompt; only whole words count.
    pub(crate) fn of(prompt: &str) -> Self {
        let mut script = Self::default();
        for word in prompt.split_whitespace() {
            match word {
                "HOLD" => script.hold = true,
                "ASK" => script.ask = true,
                "QUESTION" => script.question = true,
                "FILE" => script.file = true,
                "LIMIT" => script.limit = true,
                "LIMIT-ONCE" => script.limit_once = true,
                "ERROR" => script.error = true,
                "DENY" => script.deny = true,
                _ => {
                    let ms = word.strip_prefix("SLOW=").and_then(|ms| ms.parse().ok());
                    script.slow = ms.map_or(script.slow, Duration::from_millis);
                }
            }
        }
        script
    }
}

#[derive(Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    turns: Vec<Turn>,
    answers: u64,
    limited: HashSet<String>,
    released: bool,
    forgives: bool,
    stops: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere still needs to read what was asked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as the prompt asks for, or until the server ends.
    pub(crate) fn wait(&self, script: &Script) {
        let rest = self
            .changed
            .wait_timeout_while(self.state(), script.slow, |state| !state.stops);
        drop(rest);
        if script.hold {
            let until = |state: &mut State| !state.stops && !state.released;
            let rest = self.changed.wait_timeout_while(self.state(), HELD, until);
            drop(rest);
        }
    }

    /// Records a request, and returns whether a usage limit refuses it.
    pub(crate) fn note(&self, request: Turn, script: &Script) -> bool {
        let mut state = self.state();
        let once = script.limit_once && state.limited.insert(request.prompt.clone());
        let known = state
            .turns
            .iter_mut()
            .find(|turn| turn.thread == request.thread && turn.turn == request.turn);
        match known {
            Some(turn) => turn.requests += 1,
            None => state.turns.push(request),
        }
        once || (script.limit && !state.forgives)
    }

    /// Records the answer of a turn.
    pub(crate) fn answered(&self, thread: &str, turn: &str, text: &str) {
        let mut state = self.state();
        let mut turns = state.turns.iter_mut();
        if let Some(found) = turns.find(|known| known.thread == thread && known.turn == turn) {
            found.answer = Some(text.to_owned());
            found.answered_at = Some(Timestamp::now());
        }
    }

    /// Returns a number for each answer, to use as an id.
    pub(crate) fn number(&self) -> u64 {
        let mut state = self.state();
        state.answers += 1;
        state.answers
    }
}

/// Runs a thread for each connection; all have ended when it returns.
fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut open: Vec<(TcpStream, JoinHandle<()>)> = Vec::new();
    for stream in listener.incoming() {
        if shared.state().stops {
            break;
        }
        open.retain(|(_, thread)| !thread.is_finished());
        let Ok(stream) = stream else { continue };
        let Ok(other) = stream.try_clone() else {
            continue;
        };
        let shared = Arc::clone(shared);
        let thread = thread::spawn(move || {
            // Some tests are about an agent that disconnects in the middle.
            let _ = serve(&stream, &shared);
            let _ = stream.shutdown(Shutdown::Both);
        });
        open.push((other, thread));
    }
    for (stream, thread) in open {
        let _ = stream.shutdown(Shutdown::Both);
        let _ = thread.join();
    }
}

/// Serves one request per connection.
fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (line, body) = read_request(&mut reader)?;
    let mut out = Reply { stream };
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    match (method, serde_json::from_slice::<Value>(&body)) {
        ("POST", Ok(asked)) if path.ends_with("/responses") => responses(&asked, shared, &mut out),
        ("POST", Ok(asked)) if path.ends_with("/chat/completions") => {
            chat(&asked, shared, &mut out)
        }
        ("POST", Ok(asked)) if path.contains("/messages") => {
            messages_api::answer(path, &asked, shared, &mut out)
        }
        ("POST", Ok(asked)) if path.contains(":") => {
            gemini_api::answer(path, &asked, shared, &mut out)
        }
        ("GET", _) if path.contains("/models") => out.whole(
            200,
            &[],
            &json!({"object": "list", "data": [], "models": []}),
        ),
        _ => out.whole(404, &[], &json!({"error": {"message": "not here"}})),
    }
}

/// Returns the first line and the body.
fn read_request(reader: &mut impl BufRead) -> io::Result<(String, Vec<u8>)> {
    let mut head = reader.take(64 << 10);
    let mut first = String::new();
    head.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if head.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.trim_end().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            let value = value.trim().parse::<u64>();
            length = value.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        }
    }
    if length > LONGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    if body.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((first.trim_end().to_owned(), body))
}

pub(crate) struct Reply<'a> {
    stream: &'a TcpStream,
}

impl Reply<'_> {
    /// Sends an answer at once.
    pub(crate) fn whole(
        &mut self,
        code: u16,
        headers: &[(&str, String)],
        body: &Value,
    ) -> io::Result<()> {
        let body = body.to_string();
        let mut head = format!(
            "HTTP/1.1 {code} Status\r\ncontent-type: application/json\r\nconnection: close\r\n\
             content-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.send(&format!("{head}\r\n{body}"))
    }

    /// Begins an answer that is sent as events and ends with the connection.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        self.send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
    }

    /// Sends an event with the name of its type.
    pub(crate) fn event(&mut self, event: &Value) -> io::Result<()> {
        let name = event["type"].as_str().unwrap_or_default();
        self.send(&format!("event: {name}\ndata: {event}\n\n"))
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes())
    }
}

/// Asserts that a task completed with the model's answer to a text, byte for byte.
#[track_caller]
pub(crate) fn answered(world: &World, id: u64, prompt: &str) {
    task_becomes(world, id, "completed");
    let output = world.output(id);
    let expected = answer(prompt);
    if output == expected.as_bytes() {
        return;
    }
    let output = String::from_utf8_lossy(&output);
    let differs = output
        .char_indices()
        .zip(expected.chars())
        .find(|((_, got), wanted)| got != wanted)
        .map_or(output.len().min(expected.len()), |((at, _), _)| at);
    let tail: String = output[differs..].chars().take(80).collect();
    panic!(
        "task {id}: {} bytes instead of {}, other from byte {differs}: {tail:?}",
        output.len(),
        expected.len()
    );
}

/// Sends a request as an agent would, and returns everything that comes back.
fn exchange(model: &Model, path: &str, body: &Value) -> String {
    let mut stream = TcpStream::connect(model.address).expect("the model");
    let body = body.to_string();
    let request = format!(
        "POST /v1/{path} HTTP/1.1\r\nhost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Returns a request of the Responses API with one prompt.
fn prompt_of_turn(turn: &str, prompt: &str) -> Value {
    let message = |text: &str| {
        let part = json!({"type": "input_text", "text": text});
        json!({"type": "message", "role": "user", "content": [part]})
    };
    let place = message("<environment_context>\n  <cwd>/a b</cwd>");
    json!({
        "client_metadata": {"thread_id": "t", "turn_id": turn},
        "input": [place, message(prompt)],
    })
}

#[test]
fn the_model_does_as_the_prompt_says() {
    assert_eq!(Script::of("HOLDING, ASKED, SLOW=x"), Script::default());
    let script = Script::of("please ASK\tand\nSLOW=20 LIMIT-ONCE");
    assert!(script.ask && script.limit_once && !script.limit);
    assert_eq!(script.slow, Duration::from_millis(20));

    let model = Model::start();
    let said = exchange(&model, "responses", &prompt_of_turn("1", "hello SLOW=1"));
    assert!(said.contains("event: response.completed"), "{said}");
    assert!(said.contains("the answer to: hello"), "{said}");
    let turn = model.once(" hello SLOW=1 ");
    assert_eq!(turn.cwd.as_deref(), Some("/a b"));
    assert_eq!(turn.answer.as_deref(), Some("the answer to: hello SLOW=1"));

    // A retry is the same turn; the same words again are another turn.
    let asks = prompt_of_turn("2", "LIMIT-ONCE x");
    assert!(exchange(&model, "responses", &asks).contains(" 429 "));
    assert!(exchange(&model, "responses", &asks).contains("the answer to"));
    assert_eq!(model.once("LIMIT-ONCE x").requests, 2);
    exchange(&model, "responses", &prompt_of_turn("3", "LIMIT-ONCE x"));
    assert_eq!(model.turns_of("LIMIT-ONCE x").len(), 2);

    let asks = prompt_of_turn("4", "ERROR");
    assert!(exchange(&model, "responses", &asks).contains(" 400 "));
    let asks = prompt_of_turn("5", "ASK");
    assert!(exchange(&model, "responses", &asks).contains("require_escalated"));
    assert!(exchange(&model, "nowhere", &asks).contains(" 404 "));
}

#[test]
fn the_model_chats() {
    let model = Model::start();
    let asks = |prompt: &str, stream: bool| {
        let messages = json!([
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": prompt},
            {"role": "system", "content": "be brief indeed"},
        ]);
        let body = json!({"messages": messages, "stream": stream});
        exchange(&model, "chat/completions", &body)
    };
    assert!(asks("QUESTION one", false).contains(r"Shall I go on?"));
    assert!(asks("two", true).ends_with("data: [DONE]\n\n"));
    assert!(asks("LIMIT", true).contains(" 429 "));
    assert!(asks("LIMIT", true).contains("try again in 3600s"));
    assert_eq!(model.once("LIMIT").requests, 2);
    model.forgive();
    assert!(asks("LIMIT", true).contains("the answer to: LIMIT"));
}

/// Held answers end with the server, too.
#[test]
fn the_model_holds_until_it_is_told() {
    let model = Model::start();
    thread::scope(|scope| {
        let held = scope.spawn(|| exchange(&model, "responses", &prompt_of_turn("1", "HOLD")));
        assert_eq!(model.asked("HOLD").answer, None);
        assert!(!held.is_finished());
        model.release();
        let said = held.join().expect("an answer");
        assert!(said.contains("the answer to: HOLD"), "{said}");
    });
    let other = Model::start();
    let address = other.address;
    let held = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).expect("the model");
        let body = prompt_of_turn("1", "HOLD").to_string();
        let head = format!(
            "POST /responses HTTP/1.1\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all((head + &body).as_bytes())
            .expect("a request");
        io::copy(&mut stream, &mut io::sink())
    });
    other.asked("HOLD");
    let begun = Instant::now();
    drop(other);
    assert!(begun.elapsed() < Duration::from_secs(20));
    let _ = held.join().expect("an end");
}
