//! The search against all orders and against stateright's tester, for every model; its certificates against the replayer.
//!
//! `ORDEAL_HISTORIES=10000000 cargo test -p ordeal-history --release --test linear` for the long version: so many random
//! small histories over all models.

mod agreement;
mod chance;
mod units;
