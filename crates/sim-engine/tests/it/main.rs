//! The card behind an engine, under both clocks: the same bodies of test, stepped and in real time.

mod extremes;
mod faults;
mod kit;
mod polling;
mod rig;
mod service;
mod storm;
mod threads;
