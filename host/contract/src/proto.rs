//! Conversions between the vocabulary and the messages of the wire.
