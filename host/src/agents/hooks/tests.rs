use proptest::prelude::*;

use super::*;

fn command(state: ReportedState) -> String {
    format!(
        "'/opt/an \"agent'\\''s\"/assigner' report --state {} --hook || true",
        state.name()
    )
}

fn add(text: &str, agent: HookAgent) -> String {
    install(text, agent, &command).expect("settings")
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// What an agent sees in a text once our hooks and what they leave empty are removed.
fn without_ours(text: &str) -> Value {
    let mut all = value(text);
    let Some(Value::Object(events)) = all.get_mut("hooks") else {
        return all;
    };
    for groups in events.values_mut() {
        let Value::Array(groups) = groups else {
            continue;
        };
        groups.retain(|group| {
            group["hooks"].as_array().is_none_or(|handlers| {
                !handlers
                    .iter()
                    .all(|handler| handler["command"].as_str().is_some_and(is_ours))
                    || handlers.is_empty()
            })
        });
    }
    all
}

const ALL: [HookAgent; 4] = [
    HookAgent::Claude,
    HookAgent::Codex,
    HookAgent::Qwen,
    HookAgent::Gemini,
];

#[test]
fn a_new_file_holds_each_event_once() {
    assert_eq!(
        ALL.map(HookAgent::name),
        ["claude", "codex", "qwen", "gemini"]
    );
    for agent in ALL {
        let text = add("", agent);
        assert!(text.ends_with("}\n"));
        let hooks = installed(&text).expect("settings");
        assert_eq!(hooks.len(), agent.events().len());
        for (hook, event) in hooks.iter().zip(agent.events()) {
            assert_eq!(hook.event, event.name);
            assert_eq!(hook.command, command(event.state));
        }
        assert_eq!(remove(&text).expect("settings"), "{}\n");
    }
    assert_eq!(
        add("", HookAgent::Codex)
            .lines()
            .take(12)
            .collect::<Vec<_>>()
            .join("\n"),
        r#"{
  "hooks": {
    "UserPromptSubmit": [
      {
        "hooks": [
          {
            "type": "command",
            "command": "'/opt/an \"agent'\\''s\"/assigner' report --state busy --hook || true",
            "timeout": 10
          }
        ]
      }"#
    );
}

#[test]
fn what_is_there_keeps_its_place_and_its_layout() {
    let head =
        "{\n\t\"model\" : \"x\",\n\n\t\"hooks\": {\n\t\t\"Stop\": [\n\t\t\t{ \"hooks\": [] }";
    let tail = "\n\t\t]\n\t},\n\t\"n\": 1.50e+2\n}";
    let before = format!("{head}{tail}");
    let after = add(&before, HookAgent::Codex);
    let added = ",\n\t\t\t{\n\t\t\t\t\"hooks\": [\n\t\t\t\t\t{";
    assert!(after.starts_with(&format!("{head}{added}")), "{after}");
    let other = ",\n\t\t\"UserPromptSubmit\": [\n\t\t\t{";
    assert!(after.contains(&format!("\n\t\t]{other}")), "{after}");
    assert!(after.ends_with(tail), "{after}");
    assert_eq!(remove(&after).expect("settings"), before);
}

#[test]
fn one_line_stays_one_line() {
    let before = r#"{"a":1,"hooks":{"Stop":[]}}"#;
    let after = add(before, HookAgent::Codex);
    assert!(!after.contains('\n'), "{after}");
    assert_eq!(remove(&after).expect("settings"), before);
}

#[test]
fn empty_ones_come_back_empty() {
    for before in [
        "{}",
        "{ }",
        "{\n}",
        "{\r\n}\r\n",
        "{\r}",
        "{ \n \n}",
        "{}\n\n",
        r#"{"hooks":{}}"#,
        "{\"hooks\": { }}",
        "{\"hooks\":\n{\n}}",
        "{\n  \"hooks\": {}\n}",
        "{\n  \"hooks\": {\n  }\n}",
        "{\n  \"hooks\": { \n  }\n}",
        "{\n  \"hooks\": {\n    \"Stop\": []\n  }\n}",
        "{\"hooks\":{\"Stop\":[ \n]}}",
        "{\n\"hooks\": {\"Stop\": [\r\n]},\n\"x\": {}}",
    ] {
        for agent in ALL {
            let after = add(before, agent);
            assert_eq!(remove(&after).expect("settings"), before, "{after:?}");
        }
    }
}

#[test]
fn an_older_one_is_replaced_where_it_stands() {
    let old = |state: ReportedState| format!("assigner report --state {} --hook", state.name());
    let first = install("{\"x\": 1}", HookAgent::Claude, &old).expect("settings");
    let second = add(&first, HookAgent::Claude);
    assert_eq!(second, add("{\"x\": 1}", HookAgent::Claude));
    assert_eq!(add(&second, HookAgent::Claude), second);
    assert_eq!(installed(&second).expect("settings").len(), CLAUDE.len());
}

#[test]
fn events_of_an_older_version_and_doubles_go() {
    let ours = r#"{"type": "command", "command": "assigner report --state idle --hook"}"#;
    let text = format!(
        r#"{{"hooks": {{"SubagentStop": [{{"hooks": [{ours}]}}],
                "Stop": [{{"hooks": [{ours}, {{"type": "command", "command": "mine"}}, {ours}]}},
                         {{"matcher": "*", "hooks": [{ours}]}}]}}}}"#
    );
    let after = add(&text, HookAgent::Codex);
    assert_eq!(installed(&after).expect("settings").len(), CODEX.len());
    assert!(!after.contains("SubagentStop"), "{after}");
    let left = value(&remove(&after).expect("settings"));
    let mine = json!({"Stop": [{"hooks": [{"type": "command", "command": "mine"}]}]});
    assert_eq!(left, json!({"hooks": mine}));
}

#[test]
fn a_stranger_s_layout_leaves_nothing_empty() {
    let compact = value(&add("{}", HookAgent::Claude)).to_string();
    assert_eq!(remove(&compact).expect("settings"), "{}");
    let ours = r#"{ "command": "a report --state idle --hook" }"#;
    let padded = format!(r#"{{ "hooks": {{ "Stop": [ {{ "hooks": [ {ours} ] }} ] }} }}"#);
    assert_eq!(value(&remove(&padded).expect("settings")), json!({}));
    let other = format!("{{\"a\": [], \"hooks\": {}}}", value(&compact)["hooks"]);
    assert_eq!(remove(&other).expect("settings"), "{\"a\": []}");
}

#[test]
fn what_other_parsers_refuse_or_change_is_kept() {
    for before in [
        r#"{"a": "\ud83d", "b": 1e400, "c": "\/"}"#,
        "{ \r \"a\" : -0.0 }\r\n",
        "{\n\n  \"a\": 1, \"a\": 2\n\n}\n\n",
        "{\"hooks\": {\n\n\"Stop\": [1]\n\n}}",
    ] {
        let after = add(before, HookAgent::Claude);
        assert_eq!(remove(&after).expect("settings"), before, "{after:?}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_its_line() {
    let comment = "has a comment, which JSON does not allow: remove it first";
    for (text, line, said) in [
        ("{\n  // mine\n}", 2, comment),
        ("{} /* mine */", 1, comment),
        (
            "{\n\"a\": 1,\n}",
            3,
            "is not valid JSON (key must be a string): fix it first",
        ),
        (
            "{\"a\": 1",
            1,
            "is not valid JSON (EOF while parsing an object): fix it first",
        ),
        (
            "\u{feff}{}",
            1,
            "is not valid JSON (expected value): fix it first",
        ),
        (
            "hooks = 1",
            1,
            "is not valid JSON (expected value): fix it first",
        ),
    ] {
        let error = install(text, HookAgent::Claude, &command).expect_err("refused");
        assert_eq!(error.to_string(), format!("line {line} {said}"));
        assert_eq!(remove(text), Err(error));
    }
    for (text, line, said) in [
        ("\n[]", 2, "the top level is not an object: fix it first"),
        (
            "{\n\"hooks\": []}",
            2,
            "`hooks` is not an object: fix it first",
        ),
        (
            "{\"hooks\": {\n\"Stop\": {}}}",
            2,
            "`Stop` is not a list: fix it first",
        ),
        (
            "{\"hooks\": {},\n\"hooks\": {}}",
            2,
            "`hooks` occurs a second time: merge the two",
        ),
        (
            "{\"hooks\": {\"Stop\": [], \"St\\u006fp\": []}}",
            1,
            "`Stop` occurs a second time: merge the two",
        ),
    ] {
        let error = install(text, HookAgent::Claude, &command).expect_err("refused");
        assert_eq!(error.to_string(), format!("line {line}: {said}"));
    }
}

#[test]
fn deep_and_wide_ones_take_no_time() {
    let depth = 1_000_000;
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(
        remove(&add(&deep, HookAgent::Claude)).expect("settings"),
        deep
    );
    let blanks = " ".repeat(1_000_000);
    let wide = format!("{{\n{blanks}\"a\": 1,\n{blanks}\"hooks\": {{\n{blanks}}}}}");
    let after = add(&wide, HookAgent::Claude);
    assert!(after.len() < wide.len() + 10_000);
    assert_eq!(remove(&after).expect("settings"), wide);
    let ours = r#"{"command":"x report --state idle --hook"}"#;
    let group = format!("{{\"hooks\":[{ours}]}}");
    let groups = vec![group; 20_000].join(",");
    let many = format!("{{\"hooks\":{{\"Stop\":[{groups}]}}}}");
    assert_eq!(remove(&many).expect("settings"), "{}");
    assert_eq!(
        installed(&add(&many, HookAgent::Codex))
            .expect("settings")
            .len(),
        CODEX.len()
    );
}

fn blanks() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(String::new()),
        2 => Just(" ".to_owned()),
        2 => "\n {0,4}",
        1 => "\r\n\t{0,2}",
        1 => "[ \t\r\n]{0,4}",
    ]
}

/// A list or an object around its entries, with blanks everywhere.
fn around(
    brackets: (char, char),
    entries: impl Strategy<Value = Vec<String>>,
) -> impl Strategy<Value = String> {
    let blanks = proptest::collection::vec(blanks(), 20);
    (entries, blanks).prop_map(move |(entries, blanks)| {
        let mut text = String::from(brackets.0);
        let mut blanks = blanks.iter().cycle();
        let mut blank = || blanks.next().cloned().unwrap_or_default();
        text += &blank();
        for (number, entry) in entries.iter().enumerate() {
            if number > 0 {
                text += ",";
                text += &blank();
            }
            text += entry;
            text += &blank();
        }
        text.push(brackets.1);
        text
    })
}

fn members(
    names: &'static [&'static str],
    values: impl Strategy<Value = String> + Clone,
) -> impl Strategy<Value = String> {
    let chosen = proptest::sample::subsequence(names, 0..=names.len());
    let members = chosen.prop_flat_map(move |names| {
        let members: Vec<_> = names
            .into_iter()
            .map(|name| {
                (blanks(), values.clone())
                    .prop_map(move |(blank, value)| format!("\"{name}\"{blank}:{blank}{value}"))
            })
            .collect();
        members
    });
    around(('{', '}'), members)
}

fn list(values: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    around(('[', ']'), proptest::collection::vec(values, 0..4))
}

/// Any value, including text that looks like brackets and commas.
fn anything() -> impl Strategy<Value = String> + Clone {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("-1.50E+3".to_owned()),
        any::<String>().prop_map(|text| Value::from(text).to_string()),
        Just(r#""}],\"{\\""#.to_owned()),
        Just(r#""\u0022\ud83d\ude00""#.to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![list(inner.clone()), members(&["a", "hooks", "}"], inner),]
    })
    .boxed()
}

fn settings() -> impl Strategy<Value = String> {
    let handler = prop_oneof![
        anything(),
        Just(r#"{"type": "command", "command": "mine"}"#.to_owned()),
    ];
    let group = prop_oneof![
        anything(),
        list(handler).prop_map(|list| format!(r#"{{"matcher": "x", "hooks": {list}}}"#)),
    ];
    let hooks = members(
        &[
            "Stop",
            "Own",
            "Notification",
            "UserPromptSubmit",
            "SubagentStop",
        ],
        list(group.boxed()).boxed(),
    );
    let root = prop_oneof![
        members(&["a", "b"], anything()),
        (members(&["a"], anything()), hooks.boxed()).prop_map(|(other, hooks)| {
            let inner = &other[1..other.len() - 1];
            let comma = if value(&other)
                .as_object()
                .is_some_and(serde_json::Map::is_empty)
            {
                ""
            } else {
                ","
            };
            format!("{{\"hooks\":{hooks}{comma}{inner}}}")
        }),
        (members(&["a", "z"], anything()), anything()).prop_map(|(hooks, other)| {
            // `hooks` without an event of the agents.
            let hooks = hooks.replace("\"Stop\"", "\"Other\"");
            format!("{{\n    \"b\": {other},\n    \"hooks\": {hooks}\n}}")
        }),
    ];
    (blanks(), root, blanks()).prop_map(|(before, root, after)| before + &root + &after)
}

proptest! {
    #[test]
    fn removing_gives_back_every_byte(before in settings(), claude: bool) {
        let agent = if claude { HookAgent::Claude } else { HookAgent::Codex };
        let after = add(&before, agent);
        prop_assert_eq!(installed(&after).expect("settings").len(), agent.events().len());
        // A second installation changes nothing.
        prop_assert_eq!(&add(&after, agent), &after);
        // The other agent's events are removed, and nothing else.
        prop_assert_eq!(remove(&add(&after, HookAgent::Codex)).expect("settings"), &before[..]);
        prop_assert_eq!(remove(&after).expect("settings"), &before[..]);
        // Whatever belongs to the person is still there, neither more nor less often.
        let mut left = without_ours(&after);
        let was = value(&before);
        if let Some(Value::Object(events)) = left.get_mut("hooks") {
            let old = was.get("hooks").cloned().unwrap_or_default();
            events.retain(|name, groups| {
                old.get(name).is_some() || groups.as_array().is_none_or(|list| !list.is_empty())
            });
            if events.is_empty() && was.get("hooks").is_none() {
                left.as_object_mut().expect("an object").remove("hooks");
            }
        }
        prop_assert_eq!(left, was);
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = install(&text, HookAgent::Claude, &command);
        let _ = remove(&text);
    }

    #[test]
    fn no_broken_settings_make_it_panic(text in settings(), at: proptest::sample::Index) {
        let cut = at.index(text.len() + 1);
        if let Some(text) = text.get(..cut) {
            let _ = install(text, HookAgent::Claude, &command);
            let _ = remove(text);
        }
    }

    #[test]
    fn every_layout_can_be_taken_out_of(before in settings()) {
        let after = add(&before, HookAgent::Claude);
        let written = serde_json::to_string_pretty(&value(&after)).expect("JSON");
        for text in [written, value(&after).to_string()] {
            let left = remove(&text).expect("settings");
            prop_assert!(installed(&left).expect("settings").is_empty());
            serde_json::from_str::<Value>(&left).expect("JSON");
        }
    }
}
