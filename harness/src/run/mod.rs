//! A run from its flags to its verdict; see ARCHITECTURE, "The path of one run".

pub mod figures;
pub mod judge;
pub mod schedule;
pub mod stage;
