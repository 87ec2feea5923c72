//! From a credential to a user. A wrong credential is an error; only the absence of one is anonymous.

use crate::{
    bootstrap_token,
    oidc::{Anonymous, Oidc},
    token::Tokens,
    token_webhook::TokenWebhook,
};
use base::{Result, Status, User};
use parking_lot::RwLock;
use pki::Identity;
use schema::View;
use std::sync::Arc;

/// The chain: client certificate (once per connection), then bearer token (per request): this server's own, bootstrap
/// tokens, those of other issuers, and at last those that a webhook knows.
pub struct Authenticator {
    view: Arc<dyn View>,
    tokens: Arc<Tokens>,
    anonymous: Arc<User>,
    others: RwLock<Arc<Others>>,
}

/// What an operator has configured.
#[derive(Default)]
pub struct Others {
    pub oidc: Option<Oidc>,
    pub webhook: Option<Arc<TokenWebhook>>,
    /// `None`: whoever shows no credential is let in as anonymous, everywhere.
    pub anonymous: Option<Anonymous>,
}

/// What is said of a token that nobody knows.
const UNKNOWN: &str = "invalid bearer token";

impl Authenticator {
    pub fn new(view: Arc<dyn View>, tokens: Arc<Tokens>) -> Self {
        Authenticator { view, tokens, anonymous: Arc::new(User::anonymous()), others: RwLock::default() }
    }
    /// Takes over what is configured, for requests from now on.
    pub fn configure(&self, others: Others) {
        *self.others.write() = Arc::new(others);
    }
    /// The webhook that is asked now: what it has said stays known across changes of the rest.
    pub fn webhook(&self) -> Option<Arc<TokenWebhook>> {
        self.others.read().webhook.clone()
    }
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }
    /// `system:anonymous`
    pub fn anonymous(&self) -> Arc<User> {
        self.anonymous.clone()
    }
    /// Whether a request of nobody is let in to a path.
    pub fn admits_anonymous(&self, path: &str) -> bool {
        self.others.read().anonymous.as_ref().is_none_or(|anonymous| anonymous.may(path))
    }
    /// The user of a client certificate that TLS has verified; `None` where it names nobody.
    pub fn certificate(identity: &Identity) -> Option<User> {
        if identity.common_name.is_empty() {
            return None;
        }
        let mut groups = identity.organizations.clone();
        groups.push("system:authenticated".into());
        let id =
            ("authentication.kubernetes.io/credential-id".into(), vec![format!("X509SHA256={}", identity.fingerprint)]);
        Some(User { name: identity.common_name.clone(), groups, extra: vec![id], ..User::default() })
    }
    /// The user of a bearer token of the API server's own audience. 401 for a token that nobody knows.
    pub async fn bearer(&self, token: &str) -> Result<User> {
        match self.known(token, self.tokens.audiences()).await {
            Ok((user, _)) => Ok(user),
            Err(why) => {
                tracing::debug!("bearer token refused: [{}]", why.join(", "));
                Err(Status::unauthorized())
            }
        }
    }
    /// For a TokenReview: the user and the audiences that the token is good for, or why not.
    pub async fn review(&self, token: &str, audiences: &[String]) -> Result<(User, Vec<String>), String> {
        let wanted = if audiences.is_empty() { self.tokens.audiences() } else { audiences };
        self.known(token, wanted).await.map_err(|mut why| {
            // Where only its own issuer was asked, and knows nothing of it, nobody has complained.
            if why.first().is_none_or(|first| first != UNKNOWN) {
                why.insert(0, UNKNOWN.into());
            }
            match why.as_slice() {
                [one] => one.clone(),
                all => format!("[{}]", all.join(", ")),
            }
        })
    }

    /// Everybody in turn; the error has what those said who should have known it.
    async fn known(&self, token: &str, wanted: &[String]) -> Result<(User, Vec<String>), Vec<String>> {
        let mut failed = Vec::new();
        match self.tokens.user(token, wanted, &*self.view) {
            Ok(found) => return Ok(found),
            Err(why) => failed.push(why.to_string()),
        }
        let own = self.tokens.audiences();
        // These name no audience: they are good for the API server.
        let good: Vec<String> = wanted.iter().filter(|audience| own.contains(audience)).cloned().collect();
        if !good.is_empty() {
            if let Some(user) = bootstrap_token::user(token, &*self.view, self.tokens.now()) {
                return Ok((user, good));
            }
            let others = self.others.read().clone();
            if let Some(oidc) = &others.oidc {
                match oidc.user(token).await {
                    Some(Ok(user)) => return Ok((user, good)),
                    Some(Err(why)) => failed.push(why),
                    None => {}
                }
            }
        }
        let webhook = self.others.read().webhook.clone();
        if let Some(webhook) = webhook {
            match webhook.user(token, wanted, own).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(why) => failed.push(why),
            }
        }
        Err(failed)
    }
}
