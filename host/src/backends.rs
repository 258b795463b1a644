//! (being written)

/// (being written)
pub fn backends() {}
