use super::*;
use proptest::prelude::*;

#[test]
fn a_line_is_split_by_columns() {
    let split = |line, column| {
        let CursorLine { before, after, .. } = split_at_column(line, column);
        (before, after)
    };
    let pair = |before: &str, after: &str| (before.to_owned(), after.to_owned());
    assert_eq!(split("$", 2), pair("$ ", ""));
    assert_eq!(split("", 3), pair("   ", ""));
    assert_eq!(split("$ ls -l", 2), pair("$ ", "ls -l"));
    assert_eq!(split("日本$ x  ", 6), pair("日本$ ", "x"));
    assert_eq!(split("e\u{301}x", 1), pair("e\u{301}", "x"));
    assert_eq!(split("日x", 1), pair(" ", "日x"));
}

#[test]
fn unfit_lines_are_refused() {
    let identity = Identity {
        node: Default::default(),
        server_pid: 1,
        server_start: 2,
        pane: PaneId::parse("%3").expect("an id"),
        pane_pid: 4,
    };
    let line = |text: &str, argv: Option<&[&str]>| TypedLine {
        key: None,
        identity: identity.clone(),
        cursor: (0, 0),
        text: text.to_owned(),
        output: argv.map_or(PaneOutput::AsItIs, |argv| {
            PaneOutput::To(Pipe {
                argv: argv.iter().map(|&word| word.to_owned()).collect(),
            })
        }),
    };
    let refused = |line: &TypedLine| Script::new().type_line(0, line).is_err();
    assert!(!refused(&line("a", None)));
    assert!(!refused(&line(
        &"é".repeat(MAX_LINE / 2),
        Some(&["/bin/cat"])
    )));
    for text in [
        "",
        "a\nb",
        "a\r",
        "\x1b[201~",
        "a\tb",
        "\u{9b}",
        "\x7f",
        &"a".repeat(MAX_LINE + 1),
    ] {
        assert!(refused(&line(text, None)), "{text:?}");
    }
    for argv in [&[][..], &["a\nb"], &[&*"a".repeat(MAX_PIPE + 1)]] {
        assert!(refused(&line("a", Some(argv))), "{argv:?}");
    }
}

proptest! {
    #[test]
    fn the_split_keeps_the_text(line in r"[ -~é日🚀]{0,30}", column in 0_u32..60) {
        let CursorLine { before, after, .. } = split_at_column(&line, column);
        let whole = format!("{before}{after}");
        prop_assert!(whole.replace(' ', "") == line.replace(' ', ""));
    }

    #[test]
    fn any_state_is_read_or_not(text in r"[0-9% -]{0,40}") {
        let _ = PaneState::parse(&text);
    }

    /// The longest pipe that is accepted still fits what tmux expands.
    #[test]
    fn a_pipe_fits_what_tmux_expands(word in r"[#'%$a]{1600}") {
        prop_assert!(quote::pipe(&[word]).len() < 8_000);
    }
}
