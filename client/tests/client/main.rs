//! The client against nodes that do as they are told: each test writes the script of one or more fake nodes, lets a
//! client loose on them, and looks at the outcome and at what the nodes saw.

mod bench;
mod fake;
mod kv;
mod leaders;
mod reads;
mod watch;
mod writes;
