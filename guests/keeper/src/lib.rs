//! The guest keeper.
