use super::*;

#[test]
fn settled_tasks_move_only_by_a_persons_word() {
    let events = [
        Event::Claim,
        Event::Deliver,
        Event::Start,
        Event::Refuse,
        Event::Withdraw,
        Event::Complete,
        Event::Fail,
        Event::Retry,
        Event::RequestCancel,
        Event::Lose,
    ];
    for status in Status::ALL.into_iter().filter(|status| status.is_settled()) {
        for event in events {
            assert_eq!(
                status.after(event),
                Err(IllegalTransition {
                    from: status,
                    event
                })
            );
        }
    }
}

#[test]
fn a_task_passes_the_states_of_its_life() {
    let mut status = Status::Pending;
    for (event, expected) in [
        (Event::Claim, Status::Assigned),
        (Event::Refuse, Status::Pending),
        (Event::Claim, Status::Assigned),
        (Event::Deliver, Status::Assigned),
        (Event::Start, Status::InProgress),
        (Event::Retry, Status::Pending),
        (Event::Claim, Status::Assigned),
        (Event::Deliver, Status::Assigned),
        (Event::Lose, Status::Uncertain),
        (Event::Resend, Status::Pending),
        (Event::Cancel, Status::Cancelled),
    ] {
        status = status.after(event).expect("a legal step");
        assert_eq!(status, expected, "after {event}");
    }
}

#[test]
fn nothing_is_typed_for_a_task_that_was_not_claimed() {
    for event in [Event::Deliver, Event::Start, Event::Complete] {
        assert!(Status::Pending.after(event).is_err());
    }
}

#[test]
fn names_survive_a_round_trip() {
    for status in Status::ALL {
        assert_eq!(Status::from_name(status.name()), Some(status));
    }
}

#[test]
fn content_is_checked() {
    assert_eq!(check_content(" \n\t"), Err(ContentError::Empty));
    assert_eq!(check_content("a\0"), Err(ContentError::Nul(1)));
    assert_eq!(check_content(&"x".repeat(MAX_CONTENT)), Ok(()));
    assert_eq!(
        check_content(&"x".repeat(MAX_CONTENT + 1)),
        Err(ContentError::TooLong(MAX_CONTENT + 1))
    );
}

#[test]
fn a_summary_is_one_short_line() {
    assert_eq!(summary("\n  make test \nrm x"), "make test");
    assert_eq!(summary(&"é".repeat(300)).chars().count(), 200);
}

#[test]
fn how_much_of_a_response_is_kept_has_its_names() {
    let names = [Response::Whole, Response::Seen, Response::Printed].map(Response::name);
    assert_eq!(names, ["whole", "partial (screen)", "partial (output)"]);
}
