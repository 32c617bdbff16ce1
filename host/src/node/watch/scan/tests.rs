use super::*;

fn row(directory: &str, branch: &str) -> SessionRow {
    SessionRow {
        name: "api".to_owned(),
        identity: Identity {
            node: Default::default(),
            server_pid: 1,
            server_start: 1,
            pane: PaneId::parse("%1").expect("a pane"),
            pane_pid: 2,
        },
        activity: Activity::Idle,
        reason: None,
        since: Timestamp::UNIX_EPOCH,
        provider: SHELL.to_owned(),
        current_dir: Some(directory.to_owned()),
        git_branch: Some(branch.to_owned()),
        repository: None,
        shell: None,
        env: BTreeMap::new(),
        current_task: None,
        completed: 0,
        failed: 0,
        context_at: Timestamp::UNIX_EPOCH,
        admission: Admission::Open,
        paused: false,
        labels: BTreeMap::new(),
        homes: Vec::new(),
    }
}

#[test]
fn a_session_in_a_dead_directory_keeps_the_branch_that_was_seen_there() {
    let known = row("/dead", "dev");
    let stands = |directory: &str, known| unseen(Path::new(directory), known);
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        stands("/dead", Some(&known)),
        (text("/dead"), text("dev"), None)
    );
    assert_eq!(
        stands("/dead/below", Some(&known)),
        (text("/dead/below"), None, None)
    );
    assert_eq!(stands("/dead", None), (text("/dead"), None, None));
}
