//! Virtual time: the machines of `cdn-core` and the links of `world`, driven without sockets and clocks.
//!
//! What decides is not written here a second time: the simulator calls what the live nodes call, says what time it is and
//! counts what comes out. Pure and single-threaded, the same to the byte wherever it runs.
//!
//! Refuses to know sockets, clocks, files and ambient randomness: time and seeds are arguments.

pub mod replay;
