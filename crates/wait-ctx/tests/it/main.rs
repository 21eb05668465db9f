//! Tests of the public interface, a file per behaviour.

mod wakes;
