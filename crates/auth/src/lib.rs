//! Who asks, and may they: authenticators, RBAC, the Node authorizer, impersonation and access reviews.
//!
//! Authentication turns a certificate or a bearer token into a [`base::User`]; authorization answers yes or "no opinion"
//! for one [`Attributes`]. Both read the cluster through [`schema::View`] and an index of the RBAC objects that follows
//! the engine's watch, so a check takes a few hundred nanoseconds and never waits.
//!
//! Invariants: nobody is anonymous by accident (a wrong credential is refused, only a missing one is anonymous); nothing
//! here allows by default; a user cannot grant what the user does not hold.

pub mod access_webhook;
pub mod attributes;
pub mod authenticate;
pub mod authorizer;
pub mod bootstrap;
pub mod bootstrap_token;
pub mod escalation;
pub mod impersonate;
pub mod index;
pub mod modes;
pub mod node;
pub mod oidc;
pub mod policy;
pub mod references;
pub mod request_header;
pub mod review;
pub mod rule;
pub mod shape;
pub mod token;
pub mod token_request;
pub mod token_webhook;
pub mod webhook;

pub use attributes::{Attributes, Decision, forbidden};
pub use authenticate::{Authenticator, Others};
pub use authorizer::Authorizer;
pub use bootstrap::ensure_bootstrap;
pub use request_header::RequestHeaders;
pub use rule::Rule;
pub use token::{Claims, Tokens};
