//! The go-plugin protocol, for any service.
