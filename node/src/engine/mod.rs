//! A whole node without a world: all its groups, routing, waiting clients. Inputs go in, outputs come out, in order;
//! time is an input, a finished disk write is an input.

pub mod io;

pub use io::{Batch, BatchTicket, ClientKey, Input, Output};
