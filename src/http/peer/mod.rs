//! What is answered on the peer port. Knows messages and doors, not the actors behind them.

pub mod snapshot;
