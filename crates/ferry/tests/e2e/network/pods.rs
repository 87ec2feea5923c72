//! Pods among each other, with nodes, and with the API server.

use super::{NODES, begin, client, datagram, get, node_addresses, on, server, stage};
use crate::scenes::{Scene, scenarios, wait, with};
use serde_json::json;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

scenarios! {
    "[sig-network] Networking Granular Checks: Pods should function for intra-pod communication: http [NodeConformance] [Conformance]"
        => between_pods,
    "[sig-network] Networking Granular Checks: Pods should function for intra-pod communication: udp [NodeConformance] [Conformance]"
        => datagrams_between_pods,
    "[sig-network] Networking Granular Checks: Pods should function for node-pod communication: http [LinuxOnly] [NodeConformance] [Conformance]"
        => from_nodes,
    "[sig-network] API Server should provide secure master service [Conformance]" => api_server,
}

async fn between_pods(scene: Scene) {
    let addresses = stage(&scene).await;
    for (client, own) in [("c1", &addresses[2]), ("c2", &addresses[3])] {
        for (server, address) in [("s1", &addresses[0]), ("s2", &addresses[1])] {
            assert_eq!(get(&scene, client, &format!("{address}:8080/hostname")).await.as_deref(), Ok(server));
            // The server sees the pod itself, on its own node and on the other.
            assert_eq!(get(&scene, client, &format!("{address}:8080/clientip")).await.as_ref(), Ok(own));
        }
    }
    let refused = get(&scene, "c1", &format!("{}:8079/", addresses[1])).await.expect_err("nobody listens there");
    assert!(refused.ends_with("Connection refused"), "{refused}");
}

async fn datagrams_between_pods(scene: Scene) {
    let addresses = stage(&scene).await;
    for (client, own) in [("c1", &addresses[2]), ("c2", &addresses[3])] {
        for (server, address) in [("s1", &addresses[0]), ("s2", &addresses[1])] {
            for (text, want) in [("hostname", server), ("clientip", own.as_str()), ("something else", "something else")]
            {
                let what = format!("{client} hears {want} from {server}");
                wait(&what, async || (datagram(&scene, client, address, 8081, text).await == want).then_some(())).await;
            }
        }
    }
}

async fn from_nodes(scene: Scene) {
    let nodes = node_addresses(&scene).await;
    let server_address = begin(&scene, "s", json!({}), on(NODES[0], server())).await;
    for (node, address) in NODES.iter().zip(&nodes) {
        // A pod on the node's own network stands for its processes.
        let name = format!("on-{node}");
        let host = with(on(node, client()), json!({"hostNetwork": true}));
        assert_eq!(begin(&scene, &name, json!({}), host).await, *address);
        assert_eq!(get(&scene, &name, &format!("{server_address}:8080/hostname")).await.as_deref(), Ok("s"));
    }
    let seen = get(&scene, "on-node-2", &format!("{server_address}:8080/clientip")).await;
    assert_eq!(seen.as_ref(), Ok(&nodes[1]), "the other node comes with its own address");
}

/// TLS from within a pod: `nc` there carries the bytes, and the handshake is the test's own, with what the pod has.
async fn api_server(scene: Scene) {
    const AT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
    begin(&scene, "p", json!({}), client()).await;
    let ca = scene.exec("p", "c", &format!("cat {AT}/ca.crt")).await.out;
    let token = scene.exec("p", "c", &format!("cat {AT}/token")).await.out;
    let namespace = scene.exec("p", "c", &format!("cat {AT}/namespace")).await.out;
    assert_eq!(namespace, scene.namespace);
    let path = format!("/api/v1/namespaces/{namespace}/secrets");
    let said = ask(&scene, &ca, "kubernetes.default.svc", &path, &token).await.expect("an answer");
    assert!(said.starts_with("HTTP/1.1 403 "), "{said}");
    let user = format!("User \\\"system:serviceaccount:{namespace}:default\\\" cannot list resource \\\"secrets\\\"");
    assert!(said.contains(&user), "{said}");
    let said = ask(&scene, &ca, "kubernetes.default.svc", "/version", &token).await.expect("an answer");
    assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("v1.36."), "{said}");
    let said = ask(&scene, &ca, "kubernetes.default.svc", &path, "rubbish").await.expect("an answer");
    assert!(said.starts_with("HTTP/1.1 401 "), "{said}");
    // The certificate has that name and no other, and comes from that authority and no other.
    let said = ask(&scene, &ca, "kubernetes.example.com", "/version", &token).await.expect_err("another name");
    assert!(said.contains("not valid for name"), "{said}");
    let other = pki::Authority::new("other").expect("an authority").cert_pem().to_string();
    let said = ask(&scene, &other, "kubernetes.default.svc", "/version", &token).await.expect_err("another authority");
    assert!(said.contains("UnknownIssuer"), "{said}");
}

/// One request to `kubernetes.default.svc` from pod `p`, whose certificate must be that of `name`.
async fn ask(scene: &Scene, ca: &str, name: &'static str, path: &str, token: &str) -> Result<String, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        roots.add(certificate.expect("PEM")).expect("a certificate");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let command = ["nc", "kubernetes.default.svc", "443"];
    let params = kube::api::AttachParams::default().stdin(true).stderr(false);
    let pods = scene.api::<k8s_openapi::api::core::v1::Pod>();
    let mut process = pods.exec("p", command, &params).await.expect("nc runs");
    let (stdin, out) = (process.stdin().expect("stdin"), process.stdout().expect("stdout"));
    let stream = tokio::io::join(out, stdin);
    let name = ServerName::try_from(name).expect("a name");
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let mut stream = connected.map_err(|e| e.to_string())?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: kubernetes.default.svc\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
    stream.flush().await.map_err(|e| e.to_string())?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.map_err(|e| e.to_string())?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}
