//! The proof under faults: clients of real nodes record what they asked and
//! what they were told while processes are stopped and killed and the network
//! between them misbehaves; then a checker that knows the promises reads it.
//!
//! ```text
//!   load/ ---------> proxy ---> nodes ---> proxy ---> redis-server
//!     |                ^          ^          ^            ^
//!     |                +----------+----+-----+------------+
//!     v                             nemesis <-- schedule <-- seed
//!   history ---> check/ ---> faults of the product, or none
//! ```
//!
//! Everything random comes from one seed, so a schedule can be played again;
//! what the machine makes of it is another history each time. The checks are
//! pure: they take a [`History`](history::History) and say what is wrong in it.
//! Each of their files begins with what it can find and ends with bad histories
//! in which it finds that.

pub mod check;
pub mod history;
mod http;
mod load;
mod nemesis;
mod process;
mod proxy;
mod random;
pub mod report;
pub mod round;
pub mod schedule;
mod world;
