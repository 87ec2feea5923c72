//! Two API servers on one etcd: each shows what the other has written, and one goes on when the other is gone.
//!
//! Each server has a runtime of its own, so that it can be ended like a process that is killed: nothing in it runs again.

use base::Revision;
use pki::ClusterPki;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use store::Store;
use store_etcd::{
    Endpoint, Etcd, Options,
    lab::{Door, Lab},
};
use testkit::{Caller, Cluster, Setup, Value, Watch, json};
use tokio::runtime::{Builder, Runtime};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SERVICES: &str = "/api/v1/namespaces/default/services";

/// A server and the runtime that it lives in.
struct Server {
    runtime: Runtime,
    cluster: Cluster,
    admin: Caller,
}

impl Server {
    fn start(lab: &Lab, pki: &ClusterPki, controllers: bool) -> Server {
        Server::reaching(lab.endpoints(), pki, controllers, 1)
    }
    fn reaching(endpoints: Vec<Endpoint>, pki: &ClusterPki, controllers: bool, number: u8) -> Server {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let (cluster, admin) = runtime.block_on(async {
            let store = Etcd::open(Options::new(endpoints)).await.expect("the etcd answers");
            let advertise = SocketAddr::from(([192, 0, 2, number], 6443));
            let setup = Setup { advertise, store: Some((store as Arc<_>, pki.clone())), ..Setup::default() };
            let cluster = Cluster::open(setup).await;
            let cluster = if controllers { cluster.with_controllers() } else { cluster };
            let admin = cluster.admin();
            (cluster, admin)
        });
        Server { runtime, cluster, admin }
    }
    fn get(&self, path: &str) -> Value {
        self.runtime.block_on(self.admin.get(path)).expect(200)
    }
    fn create(&self, path: &str, object: &Value) -> Value {
        self.runtime.block_on(self.admin.create(path, object))
    }
    fn watch(&self, path: &str) -> Watch {
        self.runtime.block_on(self.admin.watch(path))
    }
    fn lines(&self, watch: &mut Watch, count: usize) -> Vec<String> {
        self.runtime.block_on(watch.lines(count))
    }
    /// Gets `path` until it is as wanted.
    fn wait(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = self.runtime.block_on(self.admin.get(path));
            if answer.code == 200 && wanted(&answer.json()) {
                return answer.json();
            }
            assert!(Instant::now() < deadline, "{path}: {}", answer.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    /// Ends it in the middle of whatever it does.
    fn kill(self) {
        let Server { runtime, cluster, admin } = self;
        runtime.shutdown_background();
        // Nothing is told to anybody by what is dropped: there is nothing left that could run.
        std::mem::forget((cluster, admin));
    }
}

fn map(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"key": value}})
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|r| r.parse().ok()).expect("a revision")
}

#[test]
fn two_servers_show_the_same() {
    let lab = Lab::one("servers");
    let pki = ClusterPki::ephemeral().expect("keys");
    let (a, b) = (Server::start(&lab, &pki, false), Server::start(&lab, &pki, false));
    // What one has answered, the other shows at once, to each kind of read.
    let start = a.get(MAPS)["metadata"]["resourceVersion"].as_str().expect("a revision").to_string();
    let mut watch = b.watch(&format!("{MAPS}?watch=1&resourceVersion={start}"));
    for round in 0..20 {
        let name = format!("m{round}");
        let made = a.create(MAPS, &map(&name, "a"));
        assert_eq!(b.get(&format!("{MAPS}/{name}")), made);
        let list = b.get(MAPS);
        assert!(revision(&list) >= revision(&made));
        let shows = |items: &Vec<Value>| items.iter().any(|item| item["metadata"] == made["metadata"]);
        assert!(list["items"].as_array().is_some_and(shows), "{round}: {list}");
        let mut changed = made.clone();
        changed["data"]["key"] = "b".into();
        let changed = b.runtime.block_on(b.admin.put(&format!("{MAPS}/{name}"), &changed)).expect(200);
        // The old revision is stale at both.
        a.runtime.block_on(a.admin.put(&format!("{MAPS}/{name}"), &made)).refused(409, "Conflict");
        assert_eq!(a.get(&format!("{MAPS}/{name}")), changed);
        a.runtime.block_on(a.admin.delete(&format!("{MAPS}/{name}"), &Value::Null)).expect(200);
        let events = b.lines(&mut watch, 3);
        assert_eq!(events, [format!("ADDED {name}"), format!("MODIFIED {name}"), format!("DELETED {name}")]);
        b.runtime.block_on(b.admin.get(&format!("{MAPS}/{name}"))).refused(404, "NotFound");
    }
}

#[test]
fn what_one_server_gives_away_the_other_does_not() {
    let lab = Lab::one("claims");
    let pki = ClusterPki::ephemeral().expect("keys");
    // Both find it empty, and make what a cluster begins with.
    let (a, b) = std::thread::scope(|scope| {
        let a = scope.spawn(|| Server::start(&lab, &pki, false));
        let b = Server::start(&lab, &pki, false);
        (a.join().expect("it starts"), b)
    });
    let service =
        |name: &str| json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let (to_a, to_b) = (a.admin.clone(), b.admin.clone());
    // Both at once: addresses and ports that both hold for free are given away once.
    let many = |admin: Caller, prefix: &'static str| async move {
        for i in 0..15 {
            admin.create(SERVICES, &service(&format!("{prefix}{i}"))).await;
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| a.runtime.block_on(many(to_a, "a")));
        scope.spawn(|| b.runtime.block_on(many(to_b, "b")));
    });
    let all = a.get(SERVICES);
    let items = all["items"].as_array().expect("a list");
    let mut addresses: Vec<&str> = items.iter().filter_map(|s| s["spec"]["clusterIP"].as_str()).collect();
    let mut ports: Vec<i64> = items.iter().filter_map(|s| s["spec"]["ports"][0]["nodePort"].as_i64()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!((addresses.len(), ports.len()), (items.len(), 30), "kubernetes has no port of nodes");
    let mut taken = service("taken");
    taken["spec"]["clusterIP"] = addresses[3].into();
    let refused = b.runtime.block_on(b.admin.post(SERVICES, &taken));
    assert!(refused.refused(422, "Invalid").contains("already allocated"), "{}", refused.text());
    // A kind that one has learnt is served by both, and its objects are.
    let group = "example.com";
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("boats.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
                 "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"},
                 "versions": [{"name": "v1", "served": true, "storage": true,
                               "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
    });
    a.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition);
    let boats = format!("/apis/{group}/v1/namespaces/default/boats");
    b.wait(&boats, |list| list["kind"] == "BoatList");
    a.wait(&boats, |list| list["kind"] == "BoatList");
    let boat = json!({"apiVersion": format!("{group}/v1"), "kind": "Boat", "metadata": {"name": "ferry"}});
    let made = b.create(&boats, &boat);
    assert_eq!(a.get(&format!("{boats}/ferry")), made);
}

#[test]
fn controllers_run_in_one_server_and_then_in_the_other() {
    let lab = Lab::one("controllers");
    let pki = ClusterPki::ephemeral().expect("keys");
    let a = Server::start(&lab, &pki, true);
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/ferry-controllers";
    let holder = |lease: &Value| lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_string();
    let first = holder(&a.wait(lease, |lease| !holder(lease).is_empty()));
    let b = Server::reaching(lab.endpoints(), &pki, true, 2);
    // Pods find both.
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    let addresses = |slice: &Value| -> Vec<String> {
        let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
        endpoints.iter().filter_map(|e| e["addresses"][0].as_str().map(String::from)).collect()
    };
    b.wait(slice, |slice| addresses(slice) == ["192.0.2.1", "192.0.2.2"]);
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    let deployment = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}},
               "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    };
    let pods = |name: &str| format!("/api/v1/namespaces/default/pods?labelSelector=app={name}");
    let count = |list: &Value| list["items"].as_array().map_or(0, Vec::len);
    b.create(deployments, &deployment("one"));
    b.wait(&pods("one"), |list| count(list) == 2);
    let mut watch = b.watch(&format!("{MAPS}?watch=1&fieldSelector=metadata.name=late"));
    assert_eq!((count(&b.get(sets)), holder(&b.get(lease))), (1, first.clone()));
    a.kill();
    // The one that is left serves on, with its watches, and takes over.
    b.create(MAPS, &map("late", "1"));
    assert_eq!(b.lines(&mut watch, 1), ["ADDED late"]);
    b.create(deployments, &deployment("two"));
    b.wait(&pods("two"), |list| count(list) == 2);
    assert_ne!(holder(&b.get(lease)), first);
    assert_eq!(count(&b.get(sets)), 2, "one ReplicaSet for each");
    b.wait(slice, |slice| addresses(slice) == ["192.0.2.2"]);
    b.runtime.block_on(b.cluster.stop());
}

#[test]
fn a_page_of_a_list_is_the_same_at_a_server_that_was_behind() {
    let lab = Lab::one("pages");
    let pki = ClusterPki::ephemeral().expect("keys");
    let a = Server::start(&lab, &pki, false);
    let door = a.runtime.block_on(Door::to(&lab));
    let b = Server::reaching(vec![door.endpoint.clone()], &pki, false, 1);
    let before = revision(&b.get(MAPS));
    door.set(false);
    for name in ["m0", "m1", "m2", "m3", "m4"] {
        a.create(MAPS, &map(name, "1"));
    }
    let first = a.get(&format!("{MAPS}?limit=2"));
    a.create(MAPS, &map("m33", "later"));
    let gone = a.runtime.block_on(a.admin.delete(&format!("{MAPS}/m4"), &Value::Null));
    gone.expect(200);
    // b has seen none of it, and reaches nobody.
    assert_eq!(revision(&b.get(&format!("{MAPS}?resourceVersion=0"))), before);
    let token = first["metadata"]["continue"].as_str().expect("there is more").to_string();
    let (admin, path) = (b.admin.clone(), format!("{MAPS}?limit=10&continue={token}"));
    let asking = b.runtime.spawn(async move { admin.get(&path).await });
    door.set(true);
    let rest = b.runtime.block_on(asking).expect("it ends").expect(200);
    let names: Vec<&str> = [&first, &rest]
        .into_iter()
        .flat_map(|page| page["items"].as_array().into_iter().flatten())
        .filter_map(|item| item["metadata"]["name"].as_str())
        .filter(|name| name.starts_with('m'))
        .collect();
    assert_eq!(names, ["m0", "m1", "m2", "m3", "m4"], "as it was when the list began");
    assert_eq!(revision(&rest), revision(&first));
}

#[test]
fn a_server_that_missed_history_begins_anew() {
    let lab = Lab::one("missed");
    let pki = ClusterPki::ephemeral().expect("keys");
    let a = Server::start(&lab, &pki, true);
    let door = a.runtime.block_on(Door::to(&lab));
    let b = Server::reaching(vec![door.endpoint.clone()], &pki, false, 1);
    let definition = |plural: &str, kind: &str| {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {"group": "example.com", "scope": "Namespaced",
                     "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
                     "versions": [{"name": "v1", "served": true, "storage": true,
                                   "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]},
        })
    };
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let (boats, trains) =
        ("/apis/example.com/v1/namespaces/default/boats", "/apis/example.com/v1/namespaces/default/trains");
    a.create(definitions, &definition("boats", "Boat"));
    b.wait(boats, |list| list["kind"] == "BoatList");
    a.create(MAPS, &map("gone", "1"));
    a.create(MAPS, &map("kept", "1"));
    let before = b.get(MAPS)["metadata"]["resourceVersion"].as_str().expect("a revision").to_string();
    let mut watch = b.watch(&format!("{MAPS}?watch=1&resourceVersion={before}"));
    // While b reaches nobody, objects and kinds come and go, and etcd forgets how.
    door.set(false);
    a.runtime.block_on(a.admin.delete(&format!("{MAPS}/gone"), &Value::Null)).expect(200);
    a.create(MAPS, &map("new", "1"));
    a.runtime.block_on(a.admin.delete(&format!("{definitions}/boats.example.com"), &Value::Null)).expect(200);
    a.wait(definitions, |list| !list.to_string().contains("boats"));
    a.create(definitions, &definition("trains", "Train"));
    a.wait(trains, |list| list["kind"] == "TrainList");
    let last = a.create(trains, &json!({"apiVersion": "example.com/v1", "kind": "Train", "metadata": {"name": "t"}}));
    a.runtime.block_on(async {
        let direct = lab.store("/registry/").await;
        direct.compact(Revision(revision(&last))).await.expect("compacted");
    });
    door.set(true);
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().cloned().unwrap_or_default();
        items.iter().filter_map(|item| item["metadata"]["name"].as_str().map(String::from)).collect()
    };
    let list = b.get(MAPS);
    assert_eq!(names(&list), names(&a.get(MAPS)));
    assert_eq!(b.get(trains)["items"], json!([last]));
    assert_eq!(b.runtime.block_on(b.admin.get(boats)).code, 404);
    // Who watched is told to list anew; who does so misses nothing.
    let told = b.runtime.block_on(watch.next());
    assert_eq!((told.0.as_str(), &told.1["code"]), ("ERROR", &410.into()), "{}", told.1);
    let mut watch = b.watch(&format!("{MAPS}?watch=1&resourceVersion={before}"));
    let told = b.runtime.block_on(watch.next());
    assert_eq!((told.0.as_str(), &told.1["code"]), ("ERROR", &410.into()), "{}", told.1);
    let mut watch = b.watch(&format!("{MAPS}?watch=1&resourceVersion={}", revision(&list)));
    a.create(MAPS, &map("next", "1"));
    assert_eq!(b.lines(&mut watch, 1), ["ADDED next"]);
}
