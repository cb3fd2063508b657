//! Formats of histories: what tools have recorded is read as they mean it, what is written is read back, what is damaged is an
//! error with its place, and no bytes make a reader panic.

mod binary;
mod corpus;
mod damage;
mod mutations;
mod samples;
mod stories;
mod trips;
mod txns;
