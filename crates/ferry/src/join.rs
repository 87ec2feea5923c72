//! How nodes come in: bootstrap tokens, as Secrets of `kube-system`.

use auth::bootstrap_token;
use base::time::{self, SignedDuration, Timestamp};
use base64::{Engine, engine::general_purpose::STANDARD};
use client::{Client, DeleteOptions, ListOptions, kinds};

/// How long a token lives.
const LIFE: SignedDuration = SignedDuration::from_hours(24);

/// Makes a token and puts its Secret into the cluster; those that have expired go.
pub async fn make_token(client: &Client, now: Timestamp) -> Result<String, client::Error> {
    let api = client.api(&kinds::SECRETS).namespace("kube-system");
    for old in api.list(&ListOptions::fields("type=bootstrap.kubernetes.io/token")).await?.items {
        let value = old.value();
        let text = STANDARD.decode(value.str_at(&["data", "expiration"])).ok().and_then(|b| String::from_utf8(b).ok());
        if text.and_then(|t| time::parse(&t)).is_some_and(|at| at <= now) {
            api.delete(old.name(), &DeleteOptions::uid(old.meta.uid.as_str())).await?;
        }
    }
    let token = bootstrap_token::generate();
    let expires = now.checked_add(LIFE).ok();
    let secret = bootstrap_token::secret(&token, "Joins nodes of this cluster", expires);
    api.create(&secret.unwrap_or_default()).await?;
    Ok(token)
}

/// Takes a token back once its nodes have joined.
pub async fn drop_token(client: &Client, token: &str) -> Result<(), client::Error> {
    let id = token.split('.').next().unwrap_or(token);
    let api = client.api(&kinds::SECRETS).namespace("kube-system");
    api.delete(&format!("bootstrap-token-{id}"), &DeleteOptions::default()).await
}
