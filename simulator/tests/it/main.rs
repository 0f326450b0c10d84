//! Whole worlds in virtual time and their parts: against closed forms, against twins that are slow and obvious, and
//! against what must never happen.

mod dns;
mod health;
mod oracles;
mod retries;
mod runs;
mod support;
mod tiers;
mod twins;
mod viewers;
