//! From a credential to a user. A wrong credential is an error; only the absence of one is anonymous.

use crate::{bootstrap_token, token::Tokens};
use base::{Result, Status, User};
use pki::Identity;
use schema::View;
use std::sync::Arc;

/// The chain: client certificate (once per connection), then bearer token (per request).
pub struct Authenticator {
    view: Arc<dyn View>,
    tokens: Arc<Tokens>,
    anonymous: Arc<User>,
}

impl Authenticator {
    pub fn new(view: Arc<dyn View>, tokens: Arc<Tokens>) -> Self {
        Authenticator { view, tokens, anonymous: Arc::new(User::anonymous()) }
    }
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }
    /// `system:anonymous`
    pub fn anonymous(&self) -> Arc<User> {
        self.anonymous.clone()
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
    pub fn bearer(&self, token: &str) -> Result<User> {
        match self.tokens.user(token, self.tokens.audiences(), &*self.view) {
            Ok((user, _)) => Ok(user),
            Err(why) => match bootstrap_token::user(token, &*self.view, self.tokens.now()) {
                Some(user) => Ok(user),
                None => {
                    tracing::debug!("bearer token refused: {why}");
                    Err(Status::unauthorized())
                }
            },
        }
    }
    /// For a TokenReview: the user and the audiences that the token is good for, or why not.
    pub fn review(&self, token: &str, audiences: &[String]) -> Result<(User, Vec<String>), String> {
        let wanted = if audiences.is_empty() { self.tokens.audiences() } else { audiences };
        match self.tokens.user(token, wanted, &*self.view) {
            Ok(found) => Ok(found),
            Err(why) => match bootstrap_token::user(token, &*self.view, self.tokens.now()) {
                Some(user) => Ok((user, wanted.to_vec())),
                None => Err(format!("[invalid bearer token, {why}]")),
            },
        }
    }
}
