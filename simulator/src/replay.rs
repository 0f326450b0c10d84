//! Replay of a trace through a cache: requests go in, hits and misses come out.
