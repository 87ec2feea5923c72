//! The control plane at work without a node: what controllers and the scheduler make of objects.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Event};
use kube::api::{Api, ListParams};
use testkit::{Caller, Cluster, Value, json};

const DEFAULT: &str = "/api/v1/namespaces/default";
const PODS: &str = "/api/v1/namespaces/default/pods";
const SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

async fn start() -> (Cluster, Caller) {
    let cluster = Cluster::start().await.with_controllers();
    let admin = cluster.admin();
    admin.until(&format!("{DEFAULT}/serviceaccounts"), "default", |account| account.is_some()).await;
    (cluster, admin)
}

fn deployment(name: &str, replicas: i64) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "registry.example.com/c:1"}]},
        },
    }})
}

fn owned(name: &str, owner: &Value, blocks: bool) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "ownerReferences": [{
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "blockOwnerDeletion": blocks,
    }]}})
}

#[tokio::test]
async fn a_deployment_becomes_pods_that_say_why_they_wait() {
    let (cluster, admin) = start().await;
    admin.create(DEPLOYMENTS, &deployment("web", 2)).await;
    let sets = admin.count(SETS, "app%3Dweb", 1).await;
    let pods = admin.count(PODS, "app%3Dweb", 2).await;
    let owner = &pods[0]["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["uid"], &owner["controller"]),
        (&json!("ReplicaSet"), &sets[0]["metadata"]["uid"], &json!(true))
    );
    let hash = sets[0]["metadata"]["labels"]["pod-template-hash"].as_str().expect("a hash").to_string();
    assert_eq!(sets[0]["metadata"]["name"], format!("web-{hash}"));

    let name = pods[0]["metadata"]["name"].as_str().unwrap();
    let waiting = admin.until(PODS, name, |pod| {
        let conditions = pod.map(|p| p["status"]["conditions"].clone()).unwrap_or_default();
        conditions.as_array().is_some_and(|c| c.iter().any(|c| c["type"] == "PodScheduled"))
    });
    let waiting = waiting.await.expect("the pod");
    assert_eq!(waiting["status"]["phase"], "Pending");
    let managers: Vec<_> =
        waiting["metadata"]["managedFields"].as_array().unwrap().iter().map(|m| &m["manager"]).collect();
    assert_eq!(managers, ["kube-controller-manager", "kube-scheduler"]);
    let condition = &waiting["status"]["conditions"][0];
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("Unschedulable")));
    assert_eq!(condition["message"], "no nodes available to schedule pods");
    let events: Api<Event> = Api::namespaced(admin.kube(), "default");
    let mut watch = admin.watch(&format!("{DEFAULT}/events?watch=1&fieldSelector=reason%3DFailedScheduling")).await;
    watch.next().await;
    assert!(!events.list(&ListParams::default()).await.unwrap().items.is_empty());

    // A node that takes no pods; then one that does.
    let node = json!({"metadata": {"name": "full"}, "spec": {"unschedulable": true}});
    admin.create("/api/v1/nodes", &node).await;
    let capacity = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    let ready = json!({"status": {"capacity": capacity, "allocatable": capacity, "conditions": [{
        "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
        "lastHeartbeatTime": now(), "lastTransitionTime": now(),
    }]}});
    assert_eq!(admin.patch("/api/v1/nodes/full/status", "merge", &ready).await.code, 200);
    admin
        .until(PODS, name, |pod| {
            let text = pod.map(|p| p["status"]["conditions"][0]["message"].to_string()).unwrap_or_default();
            text.contains("0/1 nodes are available: 1 node(s) were unschedulable.")
        })
        .await;
    admin.create("/api/v1/nodes", &json!({"metadata": {"name": "free"}})).await;
    assert_eq!(admin.patch("/api/v1/nodes/free/status", "merge", &ready).await.code, 200);
    let bound = admin.until(PODS, name, |pod| pod.is_some_and(|p| p["spec"]["nodeName"] == "free")).await.unwrap();
    assert!(
        bound["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c["type"] == "PodScheduled" && c["status"] == "True")
    );

    // Each node is told of once.
    let mut watch = admin.watch(&format!("{DEFAULT}/events?watch=1&fieldSelector=reason%3DRegisteredNode")).await;
    let mut told = Vec::new();
    for _ in 0..2 {
        let (_, event) = watch.next().await;
        assert_eq!((&event["involvedObject"]["kind"], &event["count"]), (&json!("Node"), &json!(1)), "{event}");
        told.push(event["message"].as_str().unwrap_or_default().to_string());
    }
    told.sort();
    let words = |node: &str| format!("Node {node} event: Registered Node {node} in Controller");
    assert_eq!(told, [words("free"), words("full")]);

    let status: Deployment = Api::<Deployment>::namespaced(admin.kube(), "default").get_status("web").await.unwrap();
    assert_eq!(status.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"], "1");
    cluster.stop().await;
}

#[tokio::test]
async fn scaling_and_a_new_template() {
    let (cluster, admin) = start().await;
    admin.create(DEPLOYMENTS, &deployment("web", 3)).await;
    admin.count(PODS, "app%3Dweb", 3).await;
    let answer = admin.patch(&format!("{DEPLOYMENTS}/web/scale"), "merge", &json!({"spec": {"replicas": 1}})).await;
    answer.expect(200);
    admin.count(PODS, "app%3Dweb", 1).await;
    let image = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "registry.example.com/c:2"}]);
    admin.patch(&format!("{DEPLOYMENTS}/web"), "json", &image).await.expect(200);
    let sets = admin.count(SETS, "app%3Dweb", 2).await;
    let mut revisions: Vec<_> =
        sets.iter().map(|s| s["metadata"]["annotations"]["deployment.kubernetes.io/revision"].to_string()).collect();
    revisions.sort();
    assert_eq!(revisions, ["\"1\"", "\"2\""]);
    cluster.stop().await;
}

#[tokio::test]
async fn a_namespace_gets_what_it_needs_and_is_emptied_when_it_goes() {
    let (cluster, admin) = start().await;
    admin.create("/api/v1/namespaces", &json!({"metadata": {"name": "shop"}})).await;
    let shop = "/api/v1/namespaces/shop";
    admin.until(&format!("{shop}/serviceaccounts"), "default", |account| account.is_some()).await;
    admin.until(&format!("{shop}/configmaps"), "kube-root-ca.crt", |map| map.is_some()).await;

    admin.create(&format!("{shop}/secrets"), &json!({"metadata": {"name": "s"}})).await;
    admin.create("/apis/apps/v1/namespaces/shop/deployments", &deployment("web", 2)).await;
    admin.count(&format!("{shop}/pods"), "app%3Dweb", 2).await;
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    admin.create(&format!("{shop}/configmaps"), &held).await;

    let going = admin.delete(shop, &Value::Null).await.expect(200);
    assert_eq!(going["status"]["phase"], "Terminating");
    let message = admin
        .post(&format!("{shop}/configmaps"), &json!({"metadata": {"name": "late"}}))
        .await
        .refused(403, "Forbidden");
    assert!(
        message.contains("unable to create new content in namespace shop because it is being terminated"),
        "{message}"
    );
    admin.until(&format!("{shop}/secrets"), "s", |secret| secret.is_none()).await;
    admin.count(&format!("{shop}/pods"), "app%3Dweb", 0).await;
    // One object is held: the namespace waits and says so.
    let waiting = admin.until("/api/v1/namespaces", "shop", |namespace| {
        let conditions = namespace.map(|n| n["status"]["conditions"].clone()).unwrap_or_default();
        conditions
            .as_array()
            .is_some_and(|c| c.iter().any(|c| c["type"] == "NamespaceFinalizersRemaining" && c["status"] == "True"))
    });
    waiting.await;
    admin
        .patch(&format!("{shop}/configmaps/held"), "merge", &json!({"metadata": {"finalizers": null}}))
        .await
        .expect(200);
    admin.until("/api/v1/namespaces", "shop", |namespace| namespace.is_none()).await;
    cluster.stop().await;
}

#[tokio::test]
async fn garbage_goes_as_the_deletion_says() {
    let (cluster, admin) = start().await;
    let maps = format!("{DEFAULT}/configmaps");
    let owner = async |name: &str| admin.create(&maps, &json!({"metadata": {"name": name}})).await;

    // Background: the owner goes at once, what it owned afterwards.
    let background = owner("background").await;
    admin.create(&maps, &owned("b-child", &background, false)).await;
    admin.delete(&format!("{maps}/background"), &Value::Null).await.expect(200);
    admin.get(&format!("{maps}/background")).await.refused(404, "NotFound");
    admin.until(&maps, "b-child", |child| child.is_none()).await;

    // Foreground: what it owned goes first.
    let foreground = owner("foreground").await;
    let mut child = owned("f-child", &foreground, true);
    child["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.create(&maps, &child).await;
    let held =
        admin.delete(&format!("{maps}/foreground"), &json!({"propagationPolicy": "Foreground"})).await.expect(200);
    assert_eq!(held["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    admin.until(&maps, "f-child", |child| child.is_some_and(|c| c["metadata"]["deletionTimestamp"].is_string())).await;
    admin.get(&format!("{maps}/foreground")).await.expect(200);
    admin.patch(&format!("{maps}/f-child"), "merge", &json!({"metadata": {"finalizers": null}})).await.expect(200);
    admin.until(&maps, "foreground", |owner| owner.is_none()).await;

    // Orphan: what it owned stays and forgets it.
    let orphan = owner("orphan").await;
    admin.create(&maps, &owned("o-child", &orphan, false)).await;
    admin.delete(&format!("{maps}/orphan"), &json!({"propagationPolicy": "Orphan"})).await.expect(200);
    admin.until(&maps, "orphan", |owner| owner.is_none()).await;
    let child = admin.get(&format!("{maps}/o-child")).await.expect(200);
    assert_eq!(child["metadata"]["ownerReferences"], Value::Null);

    // An owner that never was.
    let ghost = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ghost", "uid": "c0ffee00-0000-4000-8000-000000000000"}});
    admin.create(&maps, &owned("g-child", &ghost, false)).await;
    admin.until(&maps, "g-child", |child| child.is_none()).await;
    // A whole tree: deployment, set, pods.
    admin.create(DEPLOYMENTS, &deployment("tree", 2)).await;
    admin.count(PODS, "app%3Dtree", 2).await;
    admin.delete(&format!("{DEPLOYMENTS}/tree"), &json!({"propagationPolicy": "Foreground"})).await.expect(200);
    admin.until(DEPLOYMENTS, "tree", |d| d.is_none()).await;
    admin.count(SETS, "app%3Dtree", 0).await;
    admin.count(PODS, "app%3Dtree", 0).await;
    cluster.stop().await;
}

#[tokio::test]
async fn ready_pods_become_endpoints() {
    let (cluster, admin) = start().await;
    let service = json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}});
    admin.create(&format!("{DEFAULT}/services"), &service).await;
    let pod = json!({"metadata": {"name": "p", "labels": {"app": "web"}}, "spec": {
        "nodeName": "n", "containers": [{"name": "c", "image": "i"}],
    }});
    admin.create(PODS, &pod).await;
    let status = |ready: &str| {
        json!({"status": {
            "phase": "Running", "podIP": "10.244.0.7", "podIPs": [{"ip": "10.244.0.7"}],
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now()}],
        }})
    };
    assert_eq!(admin.patch(&format!("{PODS}/p/status"), "merge", &status("True")).await.code, 200);
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    let selector = "kubernetes.io/service-name%3Dweb";
    let wait = async |ready: bool| {
        let mut watch = admin.watch(&format!("{slices}?watch=1&labelSelector={selector}")).await;
        loop {
            let (_, slice) = watch.next().await;
            let endpoint = &slice["endpoints"][0];
            if endpoint["addresses"] == json!(["10.244.0.7"]) && endpoint["conditions"]["ready"] == ready {
                return slice;
            }
        }
    };
    let slice = wait(true).await;
    assert_eq!(slice["ports"][0]["port"], 8080);
    assert_eq!(slice["endpoints"][0]["targetRef"]["name"], "p");
    let endpoints =
        admin.until(&format!("{DEFAULT}/endpoints"), "web", |e| e.is_some_and(|e| e["subsets"].is_array())).await;
    assert_eq!(endpoints.unwrap()["subsets"][0]["addresses"][0]["ip"], "10.244.0.7");
    assert_eq!(admin.patch(&format!("{PODS}/p/status"), "merge", &status("False")).await.code, 200);
    wait(false).await;
    admin.delete(&format!("{PODS}/p"), &json!({"gracePeriodSeconds": 0})).await.expect(200);
    admin.delete(&format!("{DEFAULT}/services/web"), &Value::Null).await.expect(200);
    admin.count(slices, selector, 0).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_bootstrapped_node_gets_its_certificate() {
    use base64::Engine;
    let (cluster, admin) = start().await;
    let secret = json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token", "stringData": {
        "token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
        "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
    }});
    admin.create("/api/v1/namespaces/kube-system/secrets", &secret).await;
    for (name, role) in [
        ("join", "system:node-bootstrapper"),
        ("approve", "system:certificates.k8s.io:certificatesigningrequests:nodeclient"),
    ] {
        let binding = json!({"metadata": {"name": format!("test-{name}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:bootstrappers"}]});
        admin.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
    }
    let requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    let ask = |name: &str, user: &str, group: Option<&str>, signer: &str| {
        let made = pki::CertificateRequest::new(user, group, &[]).unwrap();
        let encoded = base64::engine::general_purpose::STANDARD.encode(&made.request_pem);
        let usages = ["digital signature", "client auth"];
        (
            made,
            json!({"metadata": {"name": name}, "spec": {"request": encoded, "signerName": signer, "usages": usages}}),
        )
    };
    let joining = cluster.token("abcdef.0123456789abcdef");
    let (made, request) =
        ask("node-1", "system:node:node-1", Some("system:nodes"), "kubernetes.io/kube-apiserver-client-kubelet");
    joining.create(requests, &request).await;
    let signed =
        admin.until(requests, "node-1", |r| r.is_some_and(|r| r["status"]["certificate"].is_string())).await.unwrap();
    assert_eq!(signed["status"]["conditions"][0]["type"], "Approved");
    let pem =
        base64::engine::general_purpose::STANDARD.decode(signed["status"]["certificate"].as_str().unwrap()).unwrap();
    let leaf = pki::Leaf { cert_pem: String::from_utf8(pem).unwrap(), key_pem: made.key_pem.clone() };
    let identity = leaf.identity().unwrap();
    assert_eq!(
        (identity.common_name.as_str(), identity.organizations),
        ("system:node:node-1", vec!["system:nodes".to_string()])
    );
    let node = cluster.with_certificate(&leaf);
    node.create("/api/v1/nodes", &json!({"metadata": {"name": "node-1"}})).await;

    // Whoever is no node is not approved by itself; a person may, and then it is signed.
    let (_, request) = ask("person", "jane", None, "kubernetes.io/kube-apiserver-client");
    let mut asked = admin.create(requests, &request).await;
    asked["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "reason": "ByHand", "message": "m"}]);
    assert_eq!(admin.put(&format!("{requests}/person/approval"), &asked).await.code, 200);
    admin.until(requests, "person", |r| r.is_some_and(|r| r["status"]["certificate"].is_string())).await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_definition_takes_its_objects_and_routes_along() {
    let (cluster, admin) = start().await;
    let definition = json!({
        "metadata": {"name": "things.gone.example.com"},
        "spec": {
            "group": "gone.example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    admin.create(DEFINITIONS, &definition).await;
    let things = "/apis/gone.example.com/v1/namespaces/default/things";
    for name in ["a", "b"] {
        let thing = json!({"apiVersion": "gone.example.com/v1", "kind": "Thing", "metadata": {"name": name}});
        admin.create(things, &thing).await;
    }
    // Garbage collection sees custom kinds too.
    let owner = admin.get(&format!("{things}/a")).await.expect(200);
    admin.create(&format!("{DEFAULT}/configmaps"), &owned("of-a-thing", &owner, false)).await;
    let mut watch = admin.watch(&format!("{things}?watch=1")).await;
    watch.lines(2).await;
    admin.delete(&format!("{DEFINITIONS}/things.gone.example.com"), &Value::Null).await.expect(200);
    let mut lines = watch.lines(2).await;
    lines.sort();
    assert_eq!(lines, ["DELETED a", "DELETED b"]);
    admin.until(DEFINITIONS, "things.gone.example.com", |d| d.is_none()).await;
    admin.get(things).await.refused(404, "NotFound");
    let groups = admin.get("/apis").await.expect(200);
    assert!(!groups.to_string().contains("gone.example.com"), "{groups}");
    admin.until(&format!("{DEFAULT}/configmaps"), "of-a-thing", |map| map.is_none()).await;
    // The same definition again starts empty.
    admin.create(DEFINITIONS, &definition).await;
    assert!(admin.names(things).await.is_empty());
    cluster.stop().await;
}

fn now() -> String {
    base::time::seconds(base::time::Timestamp::now())
}
