//! Screens, and what is read from them.

use super::*;
use proptest::prelude::*;

fn profile(composer: &str) -> Profile {
    let text = format!("name = 'x'\n[recognise]\nprograms = ['x']\n[composer]\n{composer}\n");
    Profile::read(&text).expect("a profile")
}

fn draft(profile: &Profile, screen: &str, cursor: Option<(u32, u32)>) -> Draft {
    let draft = Screen::read(screen, cursor).draft(profile);
    draft.expect("a composer")
}

#[test]
fn a_prompt_of_signs_alone_is_found_however_they_are_joined() {
    let profile = profile("line = '^ [>*](?: (?P<draft>.*))?$'");
    // A terminal may draw what is joined as one sign, or apart.
    for shown in ["👩\u{200d}💻", "👩💻"] {
        let text = format!(" > {shown}\n✦ the answer to: {shown}\n\n >   Type your message");
        let screen = Screen::read(&text, None);
        assert_eq!(
            screen.given(&profile, "👩\u{200d}💻"),
            1,
            "{shown}: {:?}",
            screen.lines().collect::<Vec<_>>()
        );
        assert_eq!(screen.given(&profile, "💻"), 0, "{shown}");
    }
}

#[test]
fn a_placeholder_is_no_prompt_of_signs() {
    let profile =
        profile("line = '^ >(?: (?P<draft>.*))?$'\ncursor = false\nempty = ['^Type here$']");
    let holds = |screen: &str| Screen::read(screen, None).holds(&profile, "👩\u{200d}💻");
    assert!(holds("hello\n > 👩💻"));
    assert!(!holds("hello\n > Type here"));
    assert!(!holds("hello\n >"));
    // A person's.
    assert!(!holds("hello\n > wait"));
}

#[test]
fn a_few_letters_that_are_also_in_a_text_may_be_a_person_s() {
    let profile = profile("line = '^>(?: (?P<draft>.*))?$'\ncontinuation = '^  '");
    let screen = |rows: &str| {
        let last = rows.lines().count() - 1;
        Screen::read(rows, Some((40, u32::try_from(last).expect("small"))))
    };
    let ours = "fix it and run\nthe tests\nof a\nb and c";
    for (rows, whole, part) in [
        (
            "> fix it and run\n  the tests\n  of a\n  b and c",
            true,
            true,
        ),
        // It cannot be seen as a whole.
        ("> the tests\n  of a\n  b and c", true, true),
        ("> a\n  b and c", true, true),
        ("> b and c", true, true),
        ("> tests of ab and c", true, true),
        // The last lines of it were deleted.
        ("> fix it and run\n  the tests", false, true),
        ("> run\n  the tests", false, true),
        ("> fix", false, true),
        // A person's.
        ("> c", false, false),
        ("> and c", false, false),
        ("> tests", false, false),
        ("> and the tests of ab and c", false, false),
    ] {
        assert_eq!(screen(rows).holds(&profile, ours), whole, "{rows}");
        assert_eq!(screen(rows).holds_part(&profile, ours), part, "{rows}");
    }
    assert!(screen("> c").holds(&profile, "c"));
    assert!(!screen("> c").holds(&profile, "abc"));
}

#[test]
fn a_tab_may_be_drawn_as_a_sign() {
    let profile = profile("line = '^> ?(?P<draft>.*)$'\ncursor = false");
    let holds = |prompt: &str| Screen::read("> a^Itab", None).holds(&profile, prompt);
    assert!(holds("a\ttab"));
    assert!(holds("a^Itab"));
    assert!(!holds("a tab"));
}

#[test]
fn a_prompt_below_the_one_looked_for_is_told_and_never_guessed() {
    let profile = profile("line = '^>(?: (?P<draft>.*))?$'");
    let lines = ["> say hello", "hello", "> say more", "more", ">"];
    let told = |prompt: &str, lines: &[&str]| {
        let given = given(&profile, lines, prompt);
        (given.count, given.last.clone(), given.is_followed())
    };
    let more = "> say more".to_owned();
    assert_eq!(told("say hello", &lines), (2, more.clone(), true));
    assert_eq!(told("say more", &lines), (2, more.clone(), false));
    // If the same text was given twice, the last one counts.
    let twice = ["> say hello", "> say more", "> say hello", ">"];
    assert!(!told("say hello", &twice).2);
    // A draft, or a suggestion of the agent, answers nothing.
    let draft = ["> say hello", "Shall I?", "> yes"];
    assert_eq!(
        told("say hello", &draft),
        (1, "> say hello".to_owned(), false)
    );
    // Out of sight, or unknown: then it is not known what follows.
    assert_eq!(told("something else", &lines), (2, more.clone(), false));
    assert_eq!(told("", &lines), (2, more, false));
    assert_eq!(told("say hello", &[]), (0, String::new(), false));
}

#[test]
fn a_line_holds_a_text_if_nothing_else_is_in_it() {
    let reads = |idle: &str| {
        let text = format!(
            "name = 'x'\n[recognise]\nprograms = ['x']\n[state]\nidle-screen = ['{idle}']\n"
        );
        Profile::read(&text).expect("a profile")
    };
    for (idle, screen, cursor, typed, holds) in [
        ("^> ?$", "hello\n> say it", (8, 1), "say it", true),
        ("^> $", "> say it", (8, 0), "say it", true),
        ("^ask me > ?$", "ask me > say it", (15, 0), "say it", true),
        ("^$", "say it", (6, 0), "say it", true),
        // Wrapped, and with signs that terminals may show in another way.
        ("^> ?$", "> say\nit", (2, 1), "say it", true),
        ("^> ?$", "> say it…", (9, 0), "say it…", true),
        ("^> ?$", "> … say it", (10, 0), "… say it", true),
        ("^> ?$", ">  /say", (7, 0), " /say", true),
        // Something that a person typed stands before it or after it.
        ("^> ?$", "> xsay it", (9, 0), "say it", false),
        ("^> ?$", "> x say it", (10, 0), "say it", false),
        ("^> ?$", "> say it x", (10, 0), "say it", false),
        // Only a part of it is there, or it was entered, or it is output.
        ("^> ?$", "> say", (5, 0), "say it", false),
        ("^> ?$", "> say it\n", (0, 1), "say it", false),
        ("^> ?$", "> say it\n> ", (2, 1), "say it", false),
        ("^> ?$", "you say it", (10, 0), "say it", false),
        ("^> ?$", "", (0, 0), "say it", false),
        ("^> ?$", "> ", (2, 0), "", false),
        ("^> ?$", "> …", (3, 0), "…", false),
    ] {
        let shown = Screen::read(screen, Some(cursor)).line_holds(&reads(idle), typed);
        assert_eq!(shown, holds, "{idle} {screen:?} {typed:?}");
    }
    assert!(!Screen::read("> say it", None).line_holds(&reads("^> ?$"), "say it"));
}

#[test]
fn blanks_that_were_typed_are_a_draft() {
    let plain = profile("line = '^>(?: (?P<draft>.*))?$'");
    assert!(draft(&plain, ">", Some((2, 0))).empty);
    assert!(!draft(&plain, ">", Some((3, 0))).empty);
    assert!(!draft(&plain, ">\n\n", Some((0, 1))).empty);
    assert!(draft(&plain, "> \x1b[2mAsk\x1b[0m", Some((2, 0))).empty);
    // A program that draws its own cursor: a cursor at the end of a line is left out.
    let drawn = profile("line = '^>(?: (?P<draft>.*))?$'\ncursor = false");
    assert!(draft(&drawn, "> \x1b[7m \x1b[0m", None).empty);
    assert!(draft(&drawn, "> \x1b[7m", None).empty);
    assert!(!draft(&drawn, ">  \x1b[7m", None).empty);
    assert!(draft(&drawn, ">", None).takes_input);
    assert!(!draft(&drawn, ">\nx", Some((1, 1))).takes_input);
}

#[test]
fn blank_lines_of_a_draft_are_part_of_it() {
    let framed = profile(
        "line = '^>(?: (?P<draft>.*))?$'\ncontinuation = '^  '\nend = '^-'\ncursor = false",
    );
    let screen = "> one\n\n  two\n---\n  below";
    assert_eq!(draft(&framed, screen, None).text, "one\n\ntwo");
    assert!(!draft(&framed, ">\n\n  two\n---", None).empty);
    assert!(draft(&framed, ">\n\n---\n  below", None).empty);
}

#[test]
fn a_block_is_its_lines_but_for_its_end() {
    let block = profile("line = '^#(?: (?P<draft>.*))?$'\nend = '^# .* @ '\nblock = true");
    let screen = "# before\n\n#\n# a @ b\n# two\n#\n# agent @ model\n==";
    let found = draft(&block, screen, Some((5, 4)));
    assert_eq!(found.text, "\na @ b\ntwo");
    assert!(found.takes_input && !found.empty);
    let free = "# before\n\n#\n#\n#\n# agent @ model";
    assert!(draft(&block, free, Some((2, 3))).empty);
    assert!(!draft(&block, free, Some((3, 3))).empty);
    assert!(!draft(&block, free, Some((2, 0))).takes_input);
    assert_eq!(Screen::read("# agent @ model", None).draft(&block), None);
}

proptest! {
    #[test]
    fn whatever_is_shown_is_read(
        screen in "([ >#\\-\n\x1b\\[27m字é\u{a0}]|\\PC){0,80}",
        cursor in prop::option::of((any::<u32>(), 0..9_u32)), block: bool, own: bool,
    ) {
        let more = format!("block = {block}\ncursor = {own}\nend = '^-'\ncontinuation = '^ '");
        let any = profile(&format!("line = '^[>#](?: (?P<draft>.*))?$'\n{more}"));
        let screen = Screen::read(&screen, cursor);
        let _ = (screen.draft(&any), screen.holds(&any, "text"));
    }
}

/// A prompt that Claude Code proposes: its first letter is under the drawn cursor, and the rest is
/// dim.
#[test]
fn a_prompt_that_the_agent_proposes_is_no_draft() {
    let catalog = crate::agents::Catalog::built_in();
    let claude = &catalog.get("claude").expect("a profile").profile;
    let rule = "─".repeat(40);
    let draft_of = |line: &str| {
        let screen = format!("{rule}\n❯\u{a0}{line}\n{rule}\n  ? for shortcuts\n");
        draft(claude, &screen, None)
    };
    assert!(draft_of("\x1b[7mr\x1b[0m\x1b[2mun the tests\x1b[0m").empty);
    // When a person has typed a whole word, the cursor is after it.
    for typed in [
        "run the tests\x1b[7m \x1b[0m",
        "r\x1b[7m \x1b[0m",
        "ru\x1b[7mn\x1b[0m\x1b[2m the tests\x1b[0m",
        "r\x1b[7mu\x1b[0m\x1b[2mn the tests\x1b[0m",
    ] {
        assert!(!draft_of(typed).empty, "{typed:?}");
    }
}

#[test]
fn a_prompt_is_counted_where_it_is_shown_as_given() {
    let profile = profile("line = '^>(?: (?P<draft>.*))?$'");
    let given = |lines: &[&str], prompt: &str| {
        Screen::read(&lines.join("\n"), None).given(&profile, prompt)
    };
    let shown = [
        "> say hello",
        "hello",
        "* say hello",
        "say hello twice",
        ">",
    ];
    assert_eq!(given(&shown, "say hello"), 2);
    // The content of the composer was not given.
    assert_eq!(given(&["> say hello"], "say hello"), 0);
    // A long prompt is wrapped and continues on lines of its own.
    let long = ["> say hello to everybody", "  who is there", ">"];
    assert_eq!(given(&long, "say hello to everybody who is there"), 1);
    assert_eq!(given(&long, "say hello to everybody\nwho is there"), 1);
    assert_eq!(given(&["> say", ">"], "say hello"), 0);
    // A prompt of symbols alone.
    assert_eq!(given(&["> ?!", "> ?", "?!", ">"], "?!"), 1);
    assert_eq!(given(&["> a", ">"], " \n"), 0);
}

#[test]
fn what_has_to_do_with_a_text_is_told_from_what_has_not() {
    let profile = profile("line = '^>(?: (?P<draft>.*))?$'\npasted = ['\\[Pasted \\d+\\]']");
    let screen = |words: &str| Screen::read(&format!("> {words}"), Some((40, 0)));
    let ours = "say hello to everybody";
    for (words, near, part) in [
        ("say hello to everybody", true, true),
        ("say hello to everybody, and more", true, false),
        ("hello to everybody", true, true),
        ("hi", false, false),
        ("[Image #1] to everybody", false, false),
        ("[Pasted 3]", true, true),
        ("[Pasted 3] and more", true, false),
    ] {
        assert_eq!(screen(words).is_near(&profile, ours), near, "{words}");
        assert_eq!(screen(words).holds_part(&profile, ours), part, "{words}");
    }
    assert!(screen("ab").is_near(&profile, "a"));
    assert!(!screen("").is_near(&profile, ours));
}
