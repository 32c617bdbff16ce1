//! The messages of a conversation.

use super::super::fuzz::said;
use super::*;

/// Each line of `data` is a message of a conversation, and after a tab each come its parts.
pub(crate) fn opencode(data: &[u8]) {
    let message = |line: &[u8]| {
        let mut texts = line.split(|&byte| byte == b'\t');
        let data = serde_json::from_slice(texts.next()?).ok()?;
        Some(OpencodeMessage {
            id: "msg_1".to_owned(),
            data,
            parts: texts
                .filter_map(|text| serde_json::from_slice(text).ok())
                .collect(),
        })
    };
    let messages = data.split(|&byte| byte == b'\n').filter_map(message);
    let entries = entries(messages.collect());
    let mut turns = Turns::default();
    for entry in &entries {
        turns.take(entry, Timestamp::MAX);
    }
    let text: usize = entries.iter().map(said).sum();
    assert!(text <= 8 * data.len() + 64, "more text than there was");
}
