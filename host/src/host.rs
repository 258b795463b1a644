//! The rooms, joined.

/// (being written)
#[derive(Debug)]
pub struct Host;
