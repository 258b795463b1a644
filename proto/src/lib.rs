//! The messages of the scafctl plugin contract.
