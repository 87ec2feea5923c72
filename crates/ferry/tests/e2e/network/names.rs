//! Names: what a pod's resolver is told.

use super::{NODES, begin, client, get, on, server, service, stage, until_answering};
use crate::scenes::{Ran, Scene, scenarios, wait, with};
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

scenarios! {
    "[sig-network] DNS should provide DNS for the cluster [Conformance]" => cluster,
    "[sig-network] DNS should provide DNS for services [Conformance]" => services,
    "[sig-network] DNS should provide DNS for pods for Subdomain [Conformance]" => subdomain,
    "[sig-network] DNS should provide DNS for ExternalName services [Conformance]" => external_name,
    "[sig-network] DNS should resolve DNS of partial qualified names for services [LinuxOnly] [Conformance]" => partial,
    "[sig-network] Services should be able to change the type from ExternalName to ClusterIP [Conformance]"
        => to_cluster_address,
}

/// `nslookup` in a pod.
async fn look(scene: &Scene, pod: &str, kind: &str, name: &str) -> Ran {
    scene.exec(pod, "c", &format!("nslookup -type={kind} {name}")).await
}

/// The addresses that a name has, in order.
async fn addresses(scene: &Scene, pod: &str, name: &str) -> Vec<String> {
    let said = look(scene, pod, "A", name).await.out;
    let mut found: Vec<String> = said.lines().filter_map(|l| l.strip_prefix("Address: ").map(String::from)).collect();
    found.sort();
    found
}

async fn until_addresses(scene: &Scene, pod: &str, name: &str, want: &[&str]) {
    let mut want: Vec<&str> = want.to_vec();
    want.sort_unstable();
    let what = format!("{name} is {want:?} for {pod}");
    wait(&what, async || (addresses(scene, pod, name).await == want).then_some(())).await;
}

/// Waits until one of a type's records is this line.
async fn until_line(scene: &Scene, pod: &str, kind: &str, name: &str, line: &str) {
    let what = format!("{kind} of {name} has {line:?}");
    wait(&what, async || look(scene, pod, kind, name).await.out.lines().any(|l| l == line).then_some(())).await;
}

async fn cluster(scene: Scene) {
    begin(&scene, "p", json!({}), client()).await;
    let env = scene.exec("p", "c", "echo $KUBERNETES_SERVICE_HOST").await.out;
    for name in ["kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"] {
        until_addresses(&scene, "p", name, &[env.trim()]).await;
    }
    until_line(
        &scene,
        "p",
        "SRV",
        "_https._tcp.kubernetes.default.svc.cluster.local",
        "_https._tcp.kubernetes.default.svc.cluster.local\tservice = 0 100 443 kubernetes.default.svc.cluster.local.",
    )
    .await;
    let none = look(&scene, "p", "A", "no-such.default.svc.cluster.local.").await;
    assert!(none.code == 1 && none.out.contains("NXDOMAIN"), "{none:?}");
    let resolv = scene.exec("p", "c", "cat /etc/resolv.conf").await.out;
    let search = format!("search {}.svc.cluster.local svc.cluster.local cluster.local", scene.namespace);
    assert!(resolv.contains(&search) && resolv.contains("ndots:5"), "{resolv}");
}

async fn services(scene: Scene) {
    let pods = stage(&scene).await;
    let ip = service(&scene, "web", json!({})).await;
    let headless = service(&scene, "all", json!({"clusterIP": "None"})).await;
    assert_eq!(headless, "None");
    let domain = format!("{}.svc.cluster.local", scene.namespace);
    for client in ["c1", "c2"] {
        until_addresses(&scene, client, "web", &[&ip]).await;
        until_addresses(&scene, client, &format!("all.{domain}."), &[&pods[0], &pods[1]]).await;
    }
    let own = format!("_http._tcp.web.{domain}");
    until_line(&scene, "c1", "SRV", &own, &format!("{own}\tservice = 0 100 80 web.{domain}.")).await;
    // A headless Service names the ports of its pods, and a name for each of them.
    let own = format!("_udp._udp.all.{domain}");
    for address in &pods[..2] {
        let host = format!("{}.all.{domain}", address.replace('.', "-"));
        wait("both records", async || {
            let said = look(&scene, "c1", "SRV", &own).await.out;
            said.lines().any(|l| l.ends_with(&format!(" 8081 {host}."))).then_some(())
        })
        .await;
        until_addresses(&scene, "c1", &host, &[address]).await;
    }
    let mut octets: Vec<&str> = ip.split('.').collect();
    octets.reverse();
    let reverse = format!("{}.in-addr.arpa", octets.join("."));
    until_line(&scene, "c1", "PTR", &ip, &format!("{reverse}\tname = web.{domain}.")).await;
    // Names follow what is there.
    scene.delete("s1", Default::default()).await;
    until_addresses(&scene, "c2", "all", &[&pods[1]]).await;
    scene.api::<Service>().delete("web", &Default::default()).await.expect("deleted");
    until_addresses(&scene, "c2", "web", &[]).await;
}

async fn subdomain(scene: Scene) {
    let domain = format!("{}.svc.cluster.local", scene.namespace);
    service(&scene, "crew", json!({"clusterIP": "None"})).await;
    let member = |node: &str, host: &str| with(on(node, server()), json!({"hostname": host, "subdomain": "crew"}));
    let one = begin(&scene, "s1", json!({"app": "web"}), member(NODES[0], "mate")).await;
    let two = begin(&scene, "s2", json!({"app": "web"}), member(NODES[1], "cook")).await;
    begin(&scene, "c2", json!({}), on(NODES[1], client())).await;
    for (host, address) in [("mate", &one), ("cook", &two)] {
        until_addresses(&scene, "c2", &format!("{host}.crew"), &[address]).await;
        until_addresses(&scene, "c2", &format!("{host}.crew.{domain}."), &[address]).await;
    }
    assert_eq!(get(&scene, "c2", "cook.crew:8080/hostname").await.as_deref(), Ok("cook"));
    until_addresses(&scene, "c2", "crew", &[&one, &two]).await;
    let line = format!("_http._tcp.crew.{domain}\tservice = ");
    wait("records by host name", async || {
        let said = look(&scene, "c2", "SRV", &format!("_http._tcp.crew.{domain}")).await.out;
        let mine = said.lines().filter(|l| l.starts_with(&line));
        let mut hosts: Vec<&str> = mine.filter_map(|l| l.rsplit(' ').next()?.split('.').next()).collect();
        hosts.sort_unstable();
        (hosts == ["cook", "mate"]).then_some(())
    })
    .await;
    let hosts = scene.exec("s1", "c", "cat /etc/hosts").await.out;
    assert!(hosts.lines().any(|l| l == format!("{one}\tmate.crew.{domain}\tmate")), "{hosts}");
    // A pod that is not in that Service has no name there.
    begin(&scene, "stranger", json!({}), with(on(NODES[0], client()), json!({"hostname": "spy", "subdomain": "crew"})))
        .await;
    assert_eq!(addresses(&scene, "c2", "spy.crew").await, Vec::<String>::new());
}

async fn external_name(scene: Scene) {
    let domain = format!("{}.svc.cluster.local", scene.namespace);
    begin(&scene, "p", json!({}), client()).await;
    let spec = |target: &str| json!({"spec": {"type": "ExternalName", "externalName": target}});
    scene.make::<Service>(with(spec("foo.example.com"), json!({"metadata": {"name": "away"}}))).await;
    let record = |target: &str| format!("away.{domain}\tcanonical name = {target}.");
    until_line(&scene, "p", "CNAME", &format!("away.{domain}"), &record("foo.example.com")).await;
    scene.merge::<Service>("away", spec("bar.example.com")).await;
    until_line(&scene, "p", "CNAME", "away", &record("bar.example.com")).await;
    // One within the cluster leads on to its address.
    let ip = service(&scene, "web", json!({})).await;
    scene.merge::<Service>("away", spec(&format!("web.{domain}"))).await;
    until_addresses(&scene, "p", "away", &[&ip]).await;
    until_line(&scene, "p", "A", "away", &record(&format!("web.{domain}"))).await;
}

async fn partial(scene: Scene) {
    stage(&scene).await;
    let ip = service(&scene, "web", json!({})).await;
    let own = &scene.namespace;
    for name in
        ["web".to_string(), format!("web.{own}"), format!("web.{own}.svc"), format!("web.{own}.svc.cluster.local")]
    {
        until_addresses(&scene, "c1", &name, &[&ip]).await;
        until_answering(&scene, "c1", &name, &["s1", "s2"]).await;
    }
}

async fn to_cluster_address(scene: Scene) {
    stage(&scene).await;
    let spec = json!({"type": "ExternalName", "externalName": "foo.example.com"});
    scene.make::<Service>(json!({"metadata": {"name": "web"}, "spec": spec})).await;
    let domain = format!("{}.svc.cluster.local", scene.namespace);
    let alias = format!("web.{domain}\tcanonical name = foo.example.com.");
    until_line(&scene, "c1", "CNAME", "web", &alias).await;
    let spec = json!({
        "type": "ClusterIP", "externalName": Value::Null, "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
    });
    scene.merge::<Service>("web", json!({"spec": spec})).await;
    until_answering(&scene, "c1", "web", &["s1", "s2"]).await;
    assert!(!look(&scene, "c1", "CNAME", "web").await.out.contains("foo.example.com"));
    // And back: the address is given up.
    let spec =
        json!({"type": "ExternalName", "externalName": "bar.example.com", "clusterIP": null, "clusterIPs": null});
    scene.merge::<Service>("web", json!({"spec": spec})).await;
    let alias = format!("web.{domain}\tcanonical name = bar.example.com.");
    until_line(&scene, "c1", "CNAME", "web", &alias).await;
}
