//! The vocabulary of Portcullis: traits and plain types, no I/O.
