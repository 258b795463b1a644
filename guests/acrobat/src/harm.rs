//! What no guest should do.

use std::hint::black_box;

use portcullis_sdk::{Json, Sink};
use serde_json::{Value, json};

/// Never ends.
pub(crate) fn spin() -> ! {
    loop {
        black_box(());
    }
}

/// Streams until nobody reads, and panics then.
pub(crate) fn panic_unread(message: &str, sink: Option<&mut Sink<'_>>) -> ! {
    if let Some(sink) = sink {
        while sink.stdout("still here").is_ok() {}
    }
    panic!("{message}")
}

/// Calls itself until the stack has no more room. What is held across the call keeps a compiler from
/// making a loop of it.
#[expect(unconditional_recursion, reason = "to run out of stack is the point")]
pub(crate) fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    recurse(black_box(depth + 1)) + black_box(frame)[0]
}

/// Takes memory and touches every page of it.
pub(crate) fn hoard(mib: usize) -> Value {
    let hoard: Vec<Vec<u8>> = (0..mib).map(|_| black_box(vec![1; 1 << 20])).collect();
    json!({ "mib": black_box(hoard).len() })
}

/// Makes a text that is none.
pub(crate) fn invalid_utf8() -> Json {
    #[expect(
        unsafe_code,
        reason = "breaks the promise of `String` on purpose; nothing but the crossing to the host reads it"
    )]
    let text = unsafe { String::from_utf8_unchecked(vec![b'"', 0xff, b'"']) };
    Json::from_text(text)
}
