//! Exactly-once, as data.
