//! Configuration: the node's and a component's, as checked values.
//!
//! Two files for two people. `lockport.toml` is the operator's ([`node`]);
//! `component.toml` is the author's and travels with the code ([`manifest`]).
//! Both are strict ([`section`]), and every value is checked where it is read
//! ([`value`]), so what comes out of here needs no second look.
//!
//! Only the command line and the composition root know these types; below
//! them each part has options of its own and has never heard of a file. This
//! is also the only place that reads the environment ([`environment`]).

pub mod document;
pub mod environment;
pub mod manifest;
pub mod node;
pub mod section;
pub mod sources;
pub mod value;

pub use document::{ConfigError, Origin, Setting};
pub use manifest::Manifest;
pub use node::NodeConfig;
