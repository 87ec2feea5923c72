//! The client side of the OCI distribution protocol, as far as pulling needs it.
//!
//! One value serves one pull: it remembers the token that the registry's challenge led to. Redirects are followed by hand, because the
//! authorization must not follow them to another host. Source: OCI distribution-spec 1.1; Docker's token authentication
//! specification for the Bearer flow.

use crate::auth::{Challenge, Credentials};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::reference::Reference;
use crate::spec;
use crate::transport::{self, Failure, Options};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use std::sync::{Arc, Mutex};

/// The largest manifest, configuration or token answer that is read into memory.
const MAX_DOCUMENT: usize = 8 << 20;
const MAX_REDIRECTS: usize = 8;

pub(crate) struct Registry {
    options: Arc<Options>,
    reference: Reference,
    credentials: Credentials,
    /// `https://host[:port]`.
    base: String,
    authorization: Mutex<Option<HeaderValue>>,
}

/// A manifest as it came.
pub(crate) struct Fetched {
    pub bytes: Bytes,
    pub media_type: String,
    pub digest: Digest,
}

impl Registry {
    /// Finds out whether the registry speaks TLS (always, but on loopback).
    pub async fn connect(options: Arc<Options>, reference: &Reference, credentials: Credentials) -> Result<Self> {
        let host = if reference.registry == "docker.io" { "registry-1.docker.io" } else { &reference.registry };
        let registry = |scheme: &str| Registry {
            options: options.clone(),
            reference: reference.clone(),
            credentials: credentials.clone(),
            base: format!("{scheme}://{host}"),
            authorization: Mutex::default(),
        };
        let secure = registry("https");
        let url = format!("{}/v2/", secure.base);
        let name = url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_string)).unwrap_or_default();
        if !transport::is_loopback(name.trim_start_matches('[').trim_end_matches(']')) {
            return Ok(secure);
        }
        match secure.once(Method::GET, &url, &HeaderMap::new(), Bytes::new()).await {
            Err(Failure { tls: true, .. }) => Ok(registry("http")),
            Err(failure) => Err(secure.unavailable(failure.what)),
            Ok(_) => Ok(secure),
        }
    }

    /// The manifest or list that `target` (a tag or a digest) names, verified.
    pub async fn manifest(&self, target: &str) -> Result<Fetched> {
        let url = format!("{}/v2/{}/manifests/{target}", self.base, self.reference.repository);
        let accept = [spec::OCI_INDEX, spec::OCI_MANIFEST, spec::DOCKER_LIST, spec::DOCKER_MANIFEST].join(", ");
        let response = self.get(&url, &[(header::ACCEPT, accept)]).await?;
        let text = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or("").to_string();
        let media_type = text("content-type").split(';').next().unwrap_or("").trim().to_string();
        let said = text("docker-content-digest");
        let bytes = self.document(response).await?;
        let digest = Digest::of(&bytes);
        let object = format!("{}: manifest {target}", self.reference);
        // What was asked for binds most; otherwise the registry is at least held to what it says itself.
        for expected in [target, said.as_str()] {
            if let Ok(expected) = expected.parse::<Digest>() {
                expected.expect(&object, &digest)?;
            }
        }
        Ok(Fetched { bytes, media_type, digest })
    }

    /// A small blob, verified.
    pub async fn small_blob(&self, digest: &Digest) -> Result<Bytes> {
        let response = self.get(&self.blob_url(digest), &[]).await?;
        let bytes = self.document(response).await?;
        digest.verify(&format!("{}: blob {digest}", self.reference), &bytes)?;
        Ok(bytes)
    }

    /// Starts the download of a blob at `offset`; the second value says whether the server really starts there.
    pub async fn blob(&self, digest: &Digest, offset: u64) -> Result<(Response<Incoming>, bool)> {
        let mut headers = Vec::new();
        if offset > 0 {
            headers.push((header::RANGE, format!("bytes={offset}-")));
        }
        let response = self.get(&self.blob_url(digest), &headers).await?;
        let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let resumed =
            response.status() == StatusCode::PARTIAL_CONTENT && range.starts_with(&format!("bytes {offset}-"));
        Ok((response, resumed))
    }

    /// The next piece of a body; silence beyond the limit is an error.
    pub async fn next(&self, body: &mut Incoming) -> Result<Option<Bytes>> {
        loop {
            let frame = tokio::time::timeout(self.options.idle_timeout, body.frame())
                .await
                .map_err(|_| self.unavailable(format!("no data for {:?}", self.options.idle_timeout)))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(self.unavailable(format!("connection lost: {error}"))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    fn blob_url(&self, digest: &Digest) -> String {
        format!("{}/v2/{}/blobs/{digest}", self.base, self.reference.repository)
    }

    async fn document(&self, response: Response<Incoming>) -> Result<Bytes> {
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(data) = self.next(&mut body).await? {
            bytes.extend_from_slice(&data);
            if bytes.len() > MAX_DOCUMENT {
                return Err(Error::content(&self.reference, "document is larger than 8 MiB"));
            }
        }
        Ok(bytes.into())
    }

    /// GET with authentication and redirects; anything but success is an error.
    async fn get(&self, url: &str, extra: &[(header::HeaderName, String)]) -> Result<Response<Incoming>> {
        let mut url = url.to_string();
        let mut challenged = false;
        for _ in 0..MAX_REDIRECTS {
            let mut headers = HeaderMap::new();
            for (name, value) in extra {
                headers.insert(name, HeaderValue::from_str(value).map_err(|error| self.unavailable(error))?);
            }
            let ours = same_host(&url, &self.base);
            if let Some(value) = self.authorization().filter(|_| ours) {
                headers.insert(header::AUTHORIZATION, value);
            }
            let response = self.once(Method::GET, &url, &headers, Bytes::new()).await;
            let response = response.map_err(|failure| self.unavailable(failure.what))?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED && ours && !challenged {
                challenged = true;
                self.answer(&response).await?;
            } else if status.is_redirection() {
                let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
                url = resolve(&url, location.unwrap_or("")).ok_or_else(|| self.unavailable("redirect to nowhere"))?;
            } else if status.is_success() {
                return Ok(response);
            } else {
                return Err(self.refusal(response).await);
            }
        }
        Err(self.unavailable("too many redirects"))
    }

    async fn once(
        &self,
        method: Method,
        url: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url.parse().map_err(|error| Failure { tls: false, what: format!("{url}: {error}") })?;
        *request.headers_mut() = headers.clone();
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("ferry"));
        transport::send(&self.options, request).await
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.authorization.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Meets a challenge: sets the authorization for the requests to come.
    async fn answer(&self, response: &Response<Incoming>) -> Result<()> {
        let challenges: Vec<_> = response
            .headers()
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| Challenge::parse(value.to_str().ok()?))
            .collect();
        let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let value = match bearer.or(challenges.first()) {
            Some(Challenge::Bearer { realm, service, scope }) => {
                let token = if self.credentials.registry_token.is_empty() {
                    self.token(realm, service.as_deref(), scope.as_deref()).await?
                } else {
                    self.credentials.registry_token.clone()
                };
                format!("Bearer {token}")
            }
            Some(Challenge::Basic) => {
                self.credentials.basic().ok_or_else(|| self.unauthorized("authentication required"))?
            }
            None => return Err(self.unauthorized("authentication required, by a scheme that is not supported")),
        };
        let mut value = HeaderValue::from_str(&value).map_err(|_| self.unauthorized("unusable token or password"))?;
        value.set_sensitive(true);
        *self.authorization.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(value);
        Ok(())
    }

    async fn token(&self, realm: &str, service: Option<&str>, scope: Option<&str>) -> Result<String> {
        let default_scope = format!("repository:{}:pull", self.reference.repository);
        let mut fields = vec![("scope", scope.unwrap_or(&default_scope))];
        fields.extend(service.map(|service| ("service", service)));
        let mut headers = HeaderMap::new();
        let refresh = &self.credentials.identity_token;
        let response = if refresh.is_empty() {
            if let Some(Ok(basic)) = self.credentials.basic().map(|basic| HeaderValue::from_str(&basic)) {
                headers.insert(header::AUTHORIZATION, basic);
            }
            let separator = if realm.contains('?') { '&' } else { '?' };
            self.once(Method::GET, &format!("{realm}{separator}{}", form(&fields)), &headers, Bytes::new()).await
        } else {
            fields.extend([("grant_type", "refresh_token"), ("client_id", "ferry"), ("refresh_token", refresh)]);
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            self.once(Method::POST, realm, &headers, form(&fields).into()).await
        };
        let response = response.map_err(|failure| self.unavailable(failure.what))?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        #[derive(serde::Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let bytes = self.document(response).await?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| self.unavailable("malformed token answer"))?;
        token.token.or(token.access_token).ok_or_else(|| self.unavailable("the token server gave no token"))
    }

    /// The error for an unsuccessful response, with the registry's own message.
    async fn refusal(&self, response: Response<Incoming>) -> Error {
        let status = response.status();
        let body = self.document(response).await.unwrap_or_default();
        let what = message(&body).unwrap_or_else(|| status.to_string());
        let reference = self.reference.to_string();
        match status {
            StatusCode::NOT_FOUND => Error::NotFound { reference, what },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Unauthorized { reference, what },
            _ => self.unavailable(format!("{status}: {what}")),
        }
    }

    fn unauthorized(&self, what: &str) -> Error {
        Error::Unauthorized { reference: self.reference.to_string(), what: what.to_string() }
    }

    fn unavailable(&self, what: impl ToString) -> Error {
        Error::RegistryUnavailable { registry: self.reference.registry.clone(), what: what.to_string() }
    }
}

/// `{"errors":[{"code":…,"message":…}]}` as one line.
fn message(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let lines: Vec<String> = value["errors"]
        .as_array()?
        .iter()
        .map(|error| {
            let text = |key: &str| error[key].as_str().unwrap_or("").to_string();
            format!("{}: {}", text("code"), text("message")).trim_matches([':', ' ']).to_string()
        })
        .filter(|line| !line.is_empty())
        .collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

fn same_host(url: &str, base: &str) -> bool {
    url.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A `Location`, absolute or relative to the host.
fn resolve(current: &str, location: &str) -> Option<String> {
    if location.starts_with("https://") || location.starts_with("http://") {
        return Some(location.to_string());
    }
    let uri: Uri = current.parse().ok()?;
    location.starts_with('/').then(|| {
        format!("{}://{}{location}", uri.scheme_str().unwrap_or("https"), uri.authority().map_or("", |a| a.as_str()))
    })
}

/// `application/x-www-form-urlencoded`.
fn form(fields: &[(&str, &str)]) -> String {
    let escape = |text: &str| {
        text.bytes().fold(String::new(), |mut out, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
                _ => out.push_str(&format!("%{byte:02X}")),
            }
            out
        })
    };
    fields.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect::<Vec<_>>().join("&")
}
