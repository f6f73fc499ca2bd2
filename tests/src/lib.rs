//! Whole-road tests.
