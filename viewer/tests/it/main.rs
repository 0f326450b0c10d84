//! A viewer node against scripted routers and edges on plain loopback: the network costs nothing here, what travels
//! over it is what counts.

mod dns;
mod fallback;
mod ledger;
mod load;
mod proxy;
mod smuggling;
mod support;
mod wan;
