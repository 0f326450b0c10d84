//! A router over real sockets: questions by UDP, TCP and HTTP, edges that live and die.

mod dns;
mod health;
mod http;
mod malformed;
mod smuggling;
mod world;
