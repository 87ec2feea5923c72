//! Pulls from a small registry on loopback: authentication, redirects, broken connections, wrong content.

mod common;
#[path = "common/registry.rs"]
mod server;

use common::{Layer, TempDir, config, descriptor, gzip, host_architecture, manifest};
use images::{Credentials, Digest, Error, RegistryOptions, Store};
use serde_json::json;
use server::{Auth, Registry};
use std::fs;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Puts an image of these plain layers under `tag`; returns its packed layers and manifest.
fn put(registry: &mut Registry, tag: &str, plain: &[Vec<u8>]) -> (Vec<Vec<u8>>, Vec<u8>) {
    let packed: Vec<_> = plain.iter().map(|layer| gzip(layer)).collect();
    let config = config(&host_architecture(), plain);
    let manifest = manifest(&config, &packed);
    registry.blob(&config);
    packed.iter().for_each(|layer| registry.blob(layer));
    registry.manifest(tag, images::spec::OCI_MANIFEST, &manifest);
    (packed, manifest)
}

/// Bytes that do not compress, so that a packed layer is large.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as u8
    })
    .take(len)
    .collect()
}

fn me() -> Option<Credentials> {
    Some(Credentials { username: "me".into(), password: "secret".into(), ..Credentials::default() })
}

async fn refused(registry: Registry, tag: &str, credentials: Option<Credentials>) -> String {
    let dir = TempDir::new("refused");
    let registry = registry.start().await;
    let store = Store::open(dir.path()).expect("open");
    let name = format!("{}/app:{tag}", registry.address());
    let error = store.pull(&name, credentials).await.expect_err("must be refused");
    assert_eq!(store.list().expect("list"), []);
    assert_eq!(fs::read_dir(dir.path().join("blobs/sha256")).expect("blobs").count(), 0, "blobs are left");
    format!("{}: {error}", error.reason()).replace(&registry.address(), "HOST")
}

#[tokio::test]
async fn pulls_with_every_authentication() {
    let layer = Layer::new().file("a", b"content").build();
    for (auth, credentials) in [(Auth::None, None), (Auth::Basic, me()), (Auth::Bearer, me())] {
        let dir = TempDir::new("pull");
        let mut registry = Registry::new(auth);
        let (_, manifest) = put(&mut registry, "v1", std::slice::from_ref(&layer));
        let registry = registry.start().await;
        let store = Store::open(dir.path()).expect("open");
        let name = format!("{}/app:v1", registry.address());
        let image = store.pull(&name, credentials.clone()).await.expect("pull");
        assert_eq!(image.repo_tags, [name.as_str()]);
        assert_eq!(image.repo_digests, [format!("{}/app@{}", registry.address(), Digest::of(&manifest))]);
        assert_eq!(fs::read(image.layers[0].join("a")).expect("a"), b"content");
        // Pulling again fetches the manifest and nothing else of the image.
        registry.log();
        assert_eq!(store.pull(&name, credentials.clone()).await.expect("again"), image);
        assert!(registry.log().iter().all(|line| !line.contains("/blobs/")));
        // By digest there is no new tag.
        let by_digest = format!("{}/app@{}", registry.address(), Digest::of(&manifest));
        assert_eq!(store.pull(&by_digest, credentials).await.expect("by digest"), image);
        assert_eq!(store.get(&by_digest).map(|found| found.id), Some(image.id));
        // Only what the record names stays: configuration and manifest.
        assert_eq!(fs::read_dir(dir.path().join("blobs/sha256")).expect("blobs").count(), 2);
        assert_eq!(fs::read_dir(dir.path().join("ingest")).expect("ingest").count(), 0);
    }
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let dir = TempDir::new("identity");
    let mut registry = Registry::new(Auth::Bearer);
    registry.realm = "/token/refresh";
    put(&mut registry, "v1", &[]);
    let registry = registry.start().await;
    let credentials = Credentials { identity_token: "re fresh".into(), ..Credentials::default() };
    let store = Store::open(dir.path()).expect("open");
    store.pull(&format!("{}/app:v1", registry.address()), Some(credentials)).await.expect("pull");
    let form =
        "scope=repository%3Aapp%3Apull&service=s&grant_type=refresh_token&client_id=ferry&refresh_token=re%20fresh";
    assert!(registry.log().iter().any(|line| line == form));
}

#[tokio::test]
async fn refusals_name_the_reason() {
    let image = |auth| {
        let mut registry = Registry::new(auth);
        put(&mut registry, "v1", &[Layer::new().file("a", b"1").build()]);
        registry
    };
    assert_eq!(
        refused(image(Auth::None), "v2", None).await,
        "ErrImagePull: image \"HOST/app:v2\": not found: MANIFEST_UNKNOWN: manifest unknown"
    );
    assert_eq!(
        refused(image(Auth::Basic), "v1", None).await,
        "ErrImagePull: image \"HOST/app:v1\": unauthorized: authentication required"
    );
    let wrong = Some(Credentials { username: "me".into(), password: "wrong".into(), ..Credentials::default() });
    assert_eq!(
        refused(image(Auth::Bearer), "v1", wrong.clone()).await,
        "ErrImagePull: image \"HOST/app:v1\": unauthorized: DENIED: bad password"
    );
    assert!(refused(image(Auth::Basic), "v1", wrong).await.contains("unauthorized: 401"));

    // Nobody listens: bound and dropped at once.
    let free = TcpListener::bind("127.0.0.1:0").await.expect("bind").local_addr().expect("address");
    let dir = TempDir::new("down");
    let store = Store::open(dir.path()).expect("open");
    let error = store.pull(&format!("{free}/app"), None).await.expect_err("nobody there");
    assert_eq!((error.reason(), error.to_string().contains("refused")), ("RegistryUnavailable", true), "{error}");
    let error = store.pull("Bad Name", None).await.expect_err("bad name");
    assert_eq!(error.reason(), "InvalidImageName");
}

#[tokio::test]
async fn wrong_content_is_refused() {
    let plain = vec![Layer::new().file("a", &noise(1, 5000)).build()];
    let rotten = |find: &str, change: fn(&mut Vec<u8>)| {
        let mut registry = Registry::new(Auth::None);
        let (packed, manifest) = put(&mut registry, "v1", &plain);
        let key = match find {
            "layer" => format!("blobs/{}", Digest::of(&packed[0])),
            "manifest" => format!("manifests/{}", Digest::of(&manifest)),
            _ => format!("blobs/{}", Digest::of(&config(&host_architecture(), &plain))),
        };
        change(&mut registry.content.get_mut(&key).expect("content").1);
        (registry, Digest::of(&manifest))
    };
    let flip = |bytes: &mut Vec<u8>| bytes[100] ^= 1;
    for find in ["layer", "config"] {
        let text = refused(rotten(find, flip).0, "v1", None).await;
        assert!(text.starts_with("ErrImagePull: HOST/app:v1: ") && text.contains("expected sha256:"), "{find}: {text}");
    }
    let text = refused(rotten("layer", |bytes| bytes.truncate(1000)).0, "v1", None).await;
    assert!(text.ends_with("got 1000 bytes"), "{text}");
    let text = refused(rotten("layer", |bytes| bytes.extend([0; 90])).0, "v1", None).await;
    assert!(text.contains(" bytes, got "), "{text}");
    let (registry, digest) = rotten("manifest", flip);
    let text = refused(registry, &format!("v1@{digest}"), None).await;
    assert!(text.contains(&format!("expected {digest}, got ")), "{text}");
}

#[tokio::test]
async fn lists_choose_the_platform() {
    let plain = vec![Layer::new().file("a", b"1").build()];
    let list = |registry: &mut Registry, architecture: &str| {
        let (_, manifest) = put(registry, "inner", &plain);
        let mut entry = descriptor(images::spec::DOCKER_MANIFEST, &manifest);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        let list =
            json!({"schemaVersion": 2, "mediaType": images::spec::DOCKER_LIST, "manifests": [entry]}).to_string();
        registry.manifest("v1", images::spec::DOCKER_LIST, list.as_bytes());
        Digest::of(list.as_bytes())
    };
    let dir = TempDir::new("list");
    let mut registry = Registry::new(Auth::None);
    let digest = list(&mut registry, &host_architecture());
    let registry = registry.start().await;
    let store = Store::open(dir.path()).expect("open");
    let image = store.pull(&format!("{}/app:v1", registry.address()), None).await.expect("pull");
    assert_eq!(image.repo_digests, [format!("{}/app@{digest}", registry.address())]);

    let mut registry = Registry::new(Auth::None);
    list(&mut registry, "s390x");
    let text = refused(registry, "v1", None).await;
    assert!(text.contains("no match for platform linux/"), "{text}");
}

#[tokio::test]
async fn broken_downloads_resume() {
    let dir = TempDir::new("resume");
    let mut registry = Registry::new(Auth::Bearer);
    let (packed, _) = put(&mut registry, "v1", &[Layer::new().file("a", &noise(2, 40_000)).build()]);
    *registry.breaks.lock().expect("lock") = 5;
    let registry = registry.start().await;
    let store = Store::open(dir.path()).expect("open");
    let name = format!("{}/app:v1", registry.address());
    // Three attempts are not enough; what came stays for the next pull.
    let error = store.pull(&name, me()).await.expect_err("breaks");
    assert!(matches!(error, Error::RegistryUnavailable { .. }), "{error}");
    let part = dir.path().join("ingest").join(format!("{}.part", Digest::of(&packed[0]).hex()));
    let kept = part.metadata().expect("partial download").len();
    assert!(kept > packed[0].len() as u64 / 2);
    registry.log();
    store.pull(&name, me()).await.expect("resumed");
    let ranges: Vec<_> = registry.log().iter().filter_map(|line| line.split(' ').nth(1)?.parse::<u64>().ok()).collect();
    assert_eq!(ranges.first(), Some(&kept));
    assert!(ranges.windows(2).all(|pair| pair[0] <= pair[1]), "{ranges:?}");
}

#[tokio::test]
async fn redirects_lose_the_password() {
    let dir = TempDir::new("redirect");
    let plain = [Layer::new().file("a", b"1").build()];
    // The storage refuses whoever authenticates with it.
    let mut storage = Registry::new(Auth::None);
    put(&mut storage, "v1", &plain);
    let storage = storage.start().await;
    let mut front = Registry::new(Auth::Basic);
    put(&mut front, "v1", &plain);
    front.redirect = Some(storage.address());
    let front = front.start().await;
    let store = Store::open(dir.path()).expect("open");
    store.pull(&format!("{}/app:v1", front.address()), me()).await.expect("pull");
    assert_eq!(storage.log().len(), 2);

    let mut away = Registry::new(Auth::None);
    put(&mut away, "v1", &plain);
    away.redirect = Some("192.0.2.1".into());
    let text = refused(away, "v1", None).await;
    assert!(text.contains("plain http is for loopback addresses only"), "{text}");
}

#[tokio::test]
async fn several_layers_and_several_pulls_at_once() {
    let dir = TempDir::new("many");
    let plain: Vec<_> =
        (0..6).map(|n| Layer::new().file(&format!("f{}", n / 2), &noise(n / 2, 20_000)).build()).collect();
    let mut registry = Registry::new(Auth::None);
    put(&mut registry, "v1", &plain);
    let registry = registry.start().await;
    let name = format!("{}/app:v1", registry.address());
    // Two stores on one directory, as two processes would have.
    let stores = [Store::open(dir.path()).expect("open"), Store::open(dir.path()).expect("open")];
    let pulls = (0..6).map(|n| stores[n % 2].pull(&name, None));
    let images = futures::future::try_join_all(pulls).await.expect("pulls");
    assert!(images.iter().all(|image| *image == images[0] && image.layers.len() == 6));
    let blobs = registry.log().iter().filter(|line| line.contains("/blobs/")).count();
    // The configuration at most once per store, each of the three different layers once.
    assert!((4..=5).contains(&blobs), "{blobs}");
}

#[tokio::test]
async fn tls_with_an_authority_of_ones_own() {
    let dir = TempDir::new("tls");
    let mut registry = Registry::new(Auth::None);
    put(&mut registry, "v1", &[Layer::new().file("a", b"1").build()]);
    let registry = Arc::new(registry);
    let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_string()]).expect("certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("key");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .expect("server configuration");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let name = format!("{}/app:v1", listener.local_addr().expect("address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, registry) = (acceptor.clone(), registry.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    registry.serve(stream).await;
                }
            });
        }
    });
    let store = Store::open(dir.path()).expect("open");
    let error = store.pull(&name, None).await.expect_err("unknown authority");
    assert_eq!(error.reason(), "RegistryUnavailable", "{error}");
    store.set_registry_options(RegistryOptions::with_roots(vec![own.cert.der().clone()]));
    store.pull(&name, None).await.expect("trusted now");
}
