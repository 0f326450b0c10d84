//! Studies: one question asked of the deciding code again and again, in virtual time, with numbers as answers.
//!
//! A study is smaller than a scenario. It leaves out what its question does not touch, so that it can ask a thousand cities
//! and a hundred PoPs in seconds; what decides is still the code that serves.

pub mod anycast;
pub mod balance;
pub mod cache;
pub mod collapse;
pub mod estimates;
pub mod mapping;
mod network;
pub mod paths;
pub mod population;
pub mod retries;
pub mod routing;
pub mod sites;
pub mod subnets;
pub mod weighted;
