//! The log from outside: its promise, and every way to damage what it left on the disk. One binary, linked once.

mod basic;
mod common;
mod crash;
mod damage;
mod model;
mod refusals;
