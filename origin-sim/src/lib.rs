//! origin-sim
