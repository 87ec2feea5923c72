//! How nodes come in: bootstrap tokens, as Secrets of `kube-system`.

use base::{ids, time};
use client::{Client, kinds};
use time::{SignedDuration, Timestamp};
use value::{Value, value};

/// How long a token that `up` makes for its own nodes lives.
const LIFE: SignedDuration = SignedDuration::from_hours(24);

/// A token's two halves; `Display` is the whole.
pub struct Token {
    id: String,
    secret: String,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.id, self.secret)
    }
}

/// Makes a token and puts its Secret into the cluster.
pub async fn make_token(client: &Client, now: Timestamp) -> Result<Token, client::Error> {
    let half = |n: usize| ids::hex(&ids::random::<8>())[..n].to_string();
    let token = Token { id: half(6), secret: half(16) };
    let expires = now.checked_add(LIFE).unwrap_or(now);
    client.api(&kinds::SECRETS).namespace("kube-system").create(&secret(&token, expires)).await?;
    Ok(token)
}

fn secret(token: &Token, expires: Timestamp) -> Value {
    value!({
        "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": format!("bootstrap-token-{}", token.id), "namespace": "kube-system"},
        "stringData": {
            "token-id": token.id, "token-secret": token.secret, "expiration": time::seconds(expires),
            "usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
            "description": "Joins nodes of this cluster",
        },
    })
}
