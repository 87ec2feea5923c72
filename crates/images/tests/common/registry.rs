//! A registry of one repository on the loopback, in plain http, with the manners of real ones: challenges, tokens, redirects,
//! broken connections.

use base64::Engine as _;
use images::Digest;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// What it asks of its clients: nothing, `me:secret`, or a token that its own `/token` gives `me:secret`.
#[derive(Clone, Copy, PartialEq)]
pub enum Auth {
    None,
    Basic,
    Bearer,
}

/// One repository, `app`.
pub struct Registry {
    pub auth: Auth,
    /// Path below `/v2/app/` to media type and bytes.
    pub content: HashMap<String, (String, Vec<u8>)>,
    /// Blobs that are served by a redirect to another address.
    pub redirect: Option<String>,
    /// Path of the token server.
    pub realm: &'static str,
    /// How many times a layer's connection breaks halfway.
    pub breaks: Mutex<u32>,
    /// `path range` of every request, and the bodies of those that have one.
    log: Mutex<Vec<String>>,
    address: Mutex<String>,
}

impl Registry {
    pub fn new(auth: Auth) -> Self {
        Registry {
            auth,
            content: HashMap::new(),
            redirect: None,
            realm: "/token",
            breaks: Mutex::new(0),
            log: Mutex::default(),
            address: Mutex::default(),
        }
    }

    pub fn blob(&mut self, bytes: &[u8]) {
        let path = format!("blobs/{}", Digest::of(bytes));
        self.content.insert(path, ("application/octet-stream".into(), bytes.to_vec()));
    }

    pub fn manifest(&mut self, tag: &str, media_type: &str, bytes: &[u8]) {
        for name in [tag, &Digest::of(bytes).to_string()] {
            self.content.insert(format!("manifests/{name}"), (media_type.into(), bytes.to_vec()));
        }
    }

    /// Serves at a free port of the loopback until the runtime ends.
    pub async fn start(self) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let registry = Arc::new(self);
        *registry.address.lock().expect("lock") = listener.local_addr().expect("address").to_string();
        let serving = registry.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let registry = serving.clone();
                tokio::spawn(async move { registry.serve(stream).await });
            }
        });
        registry
    }

    pub fn address(&self) -> String {
        self.address.lock().expect("lock").clone()
    }

    /// What was asked since the last time.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().expect("lock"))
    }

    pub async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut stream = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            if stream.read_until(b'\n', &mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let line = String::from_utf8_lossy(&line).trim().to_string();
            if lines.is_empty() && !line.ends_with("HTTP/1.1") {
                // The client tries TLS first; a real server answers that it is no HTTP, this one hangs up.
                return;
            }
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let header = |name: &str| {
            lines.iter().find_map(|line| {
                let (key, value) = line.split_once(": ")?;
                key.eq_ignore_ascii_case(name).then(|| value.to_string())
            })
        };
        let Some(path) = lines.first().and_then(|line| line.split(' ').nth(1)).map(str::to_string) else { return };
        let authorization = header("authorization").unwrap_or_default();
        if let Some(length) = header("content-length").and_then(|value| value.parse().ok()) {
            let mut body = vec![0; length];
            let _ = stream.read_exact(&mut body).await;
            self.log.lock().expect("lock").push(String::from_utf8_lossy(&body).into_owned());
        }
        let range = header("range").and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        self.log.lock().expect("lock").push(format!("{path} {}", range.map_or(String::new(), |n| n.to_string())));
        let answer = self.answer(&path, &authorization, range.unwrap_or(0));
        let _ = stream.get_mut().write_all(&answer).await;
        let _ = stream.get_mut().shutdown().await;
    }

    fn answer(&self, path: &str, authorization: &str, range: usize) -> Vec<u8> {
        let me = base64::engine::general_purpose::STANDARD.encode("me:secret");
        if path.starts_with("/token") {
            let ok = authorization == format!("Basic {me}") || path == "/token/refresh";
            return match ok {
                true => response("200 OK", "", br#"{"token":"t0k3n"}"#),
                false => {
                    response("401 Unauthorized", "", br#"{"errors":[{"code":"DENIED","message":"bad password"}]}"#)
                }
            };
        }
        let (wanted, challenge) = match self.auth {
            Auth::None => (String::new(), String::new()),
            Auth::Basic => (format!("Basic {me}"), "Basic realm=\"r\"".to_string()),
            Auth::Bearer => {
                let realm = format!("http://{}{}", self.address(), self.realm);
                (
                    "Bearer t0k3n".to_string(),
                    format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"repository:app:pull\""),
                )
            }
        };
        if self.auth != Auth::None && authorization != wanted {
            return response("401 Unauthorized", &format!("WWW-Authenticate: {challenge}\r\n"), b"");
        }
        let name = path.strip_prefix("/v2/app/").unwrap_or(path);
        let Some((media_type, bytes)) = self.content.get(name) else {
            let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
            return response("404 Not Found", "", body);
        };
        if let (Some(host), true) = (&self.redirect, name.starts_with("blobs/")) {
            return response("307 Temporary Redirect", &format!("Location: http://{host}{path}\r\n"), b"");
        }
        let (status, mut headers) = match range {
            0 => ("200 OK", format!("Content-Type: {media_type}\r\n")),
            n => ("206 Partial Content", format!("Content-Range: bytes {n}-{}/{}\r\n", bytes.len() - 1, bytes.len())),
        };
        if name.starts_with("blobs/") && bytes.len() > 10_000 {
            let mut breaks = self.breaks.lock().expect("lock");
            if *breaks > 0 {
                *breaks -= 1;
                headers += "Connection: close\r\n";
                let mut all = response(status, &headers, &bytes[range..]);
                all.truncate(all.len() - (bytes.len() - range) / 2);
                return all;
            }
        }
        response(status, &headers, &bytes[range..])
    }
}

fn response(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
