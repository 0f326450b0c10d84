//! Whole worlds in virtual time, against closed forms and against what must never happen.

mod dns;
mod health;
mod retries;
mod runs;
mod support;
