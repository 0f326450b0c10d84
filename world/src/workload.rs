//! What is asked for: how requests spread over objects.

mod zipf;

pub use zipf::Zipf;
