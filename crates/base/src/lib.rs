//! What every other crate speaks: `Status` errors, times, quantities, names, ids and the clock.
//!
//! Nothing here knows a kind, a socket or a store. Invariant: no global state, and no function reads the wall clock
//! except [`clock::System`].

pub mod clock;
pub mod cron;
pub mod escape;
pub mod ids;
pub mod names;
pub mod quantity;
pub mod status;
pub mod time;
pub mod user;

pub use ids::Revision;
pub use status::{FieldError, FieldErrors, Reason, Result, Status};
pub use user::User;

/// What asynchronous methods of traits return, so that the trait can be used as `dyn`.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
