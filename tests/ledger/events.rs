//! What each event of a history means for the state of its task.

/// Returns the state after an event, or `None` if the event cannot happen in that state.
pub(super) fn after(state: &'static str, event: &str) -> Option<&'static str> {
    let is_open = ["assigned", "in_progress", "waiting_input"].contains(&state);
    match (state, event) {
        ("", "queued") => Some("pending"),
        ("pending", "claimed") => Some("assigned"),
        ("assigned", "delivering" | "submitted") => Some("assigned"),
        ("assigned", "started") => Some("in_progress"),
        ("assigned", "refused" | "withdrawn") => Some("pending"),
        ("pending", "abandoned") => Some("failed"),
        ("pending", "edited") => Some("pending"),
        ("pending" | "uncertain", "cancelled") => Some("cancelled"),
        ("failed" | "cancelled", "released") => Some(state),
        ("failed" | "cancelled", "requeued") => Some("pending"),
        ("uncertain", "resent") => Some("pending"),
        ("uncertain", "marked_done") => Some("completed"),
        ("uncertain", "marked_failed") => Some("failed"),
        ("completed" | "failed" | "cancelled", "cleared") => Some("cleared"),
        ("pending", "reassigned") => Some("pending"),
        (_, "waiting_input") if is_open => Some("waiting_input"),
        ("waiting_input", "resumed") => Some("in_progress"),
        (_, "completed") if is_open => Some("completed"),
        (_, "failed") if is_open => Some("failed"),
        (_, "cancelled") if is_open => Some("cancelled"),
        (_, "uncertain") if is_open => Some("uncertain"),
        ("pending", "doubted") => Some("uncertain"),
        (_, "doubted") if is_open => Some("uncertain"),
        (_, "retrying" | "held" | "returned") if is_open => Some("pending"),
        (_, "cancel_requested" | "reassigned") if is_open => Some(state),
        _ => None,
    }
}
