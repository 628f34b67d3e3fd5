//! Dockerfiles to images.
#![forbid(unsafe_code)]
