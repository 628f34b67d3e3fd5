//! The Compose Specification: load, merge, check, print and plan.
#![forbid(unsafe_code)]
