//! TLS set-up, serving, dialling, response bodies and WebSocket streams.
//!
//! Everything that speaks HTTP in the process (API server, the node's endpoint, the streams between them) is built from
//! these few pieces, so that TLS settings, timeouts and the treatment of client certificates are the same everywhere.
//!
//! Invariants: there is no listener without TLS; a client certificate that does not verify ends the handshake, and none
//! at all is let through as nobody; the peer's certificate is parsed once per connection.

pub mod body;
pub mod dial;
pub mod endpoint;
mod gather;
pub mod outgoing;
pub mod serve;
pub mod tls;
pub mod websocket;

pub use body::{Body, BoxError};
pub use dial::Dialer;
pub use endpoint::Endpoint;
pub use outgoing::Outgoing;
pub use serve::{Handler, LastOfConnection, Peer, serve};
pub use tls::{CertificateSlot, ClientAuthority, Trust};
