//! The machine as data.
