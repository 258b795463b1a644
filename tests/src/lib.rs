//! Tests through the doors a user would use.
