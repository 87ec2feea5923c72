//! Volumes: what is in them, with which modes and owners, and that changes arrive.

use crate::scenes::{Scene, always, once, scenarios, sh, wait, with};
use k8s_openapi::api::{
    authentication::v1::SelfSubjectReview,
    core::v1::{ConfigMap, Pod, Secret},
};
use kube::api::PostParams;
use serde_json::{Value, json};

scenarios! {
    "[sig-storage] ConfigMap should be consumable from pods in volume [NodeConformance] [Conformance]" => config_map,
    "[sig-storage] ConfigMap should be consumable from pods in volume with mappings and Item mode set [LinuxOnly] [NodeConformance] [Conformance]"
        => config_map_items,
    "[sig-storage] ConfigMap updates should be reflected in volume [NodeConformance] [Conformance]" => config_map_updates,
    "[sig-storage] ConfigMap optional updates should be reflected in volume [NodeConformance] [Conformance]" => optional,
    "[sig-storage] Secrets should be consumable from pods in volume as non-root with defaultMode and fsGroup set [LinuxOnly] [NodeConformance] [Conformance]"
        => secret_of_group,
    "[sig-storage] Projected combined should project all components that make up the projection API [Projection] [NodeConformance] [Conformance]"
        => projected,
    "[sig-storage] Downward API volume should update labels on modification [NodeConformance] [Conformance]" => downward,
    "[sig-storage] EmptyDir volumes pod should support shared volumes between containers [Conformance]" => shared,
    "[sig-storage] EmptyDir volumes volume on tmpfs should have the correct mode [LinuxOnly] [NodeConformance] [Conformance]"
        => tmpfs,
    "[sig-storage] EmptyDir volumes should support (non-root,0666,default) [LinuxOnly] [NodeConformance] [Conformance]"
        => non_root,
    "hostPath volumes show the node's files, by type" => host_path,
    "[sig-storage] Subpath Atomic writer volumes should support subpaths with configmap pod [Conformance]" => sub_path,
    "[sig-node] Variable Expansion should allow substituting values in a volume subpath [Conformance]" => sub_path_expr,
    "[sig-node] Variable Expansion should verify that a failing subpath expansion can be modified during the lifecycle of a container [Slow] [Conformance]"
        => sub_path_mended,
    "[sig-auth] ServiceAccounts should mount an API token into pods [Conformance]" => token,
}

/// A pod spec of one container with one volume at `/v`.
fn mounted(container: Value, volume: Value) -> Value {
    let container = with(container, json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}));
    with(once(container), json!({"volumes": [with(volume, json!({"name": "v"}))]}))
}

/// One that stays, so that commands can look into it.
fn staying(volume: Value) -> Value {
    with(mounted(sh("sleep 1000"), volume), json!({"restartPolicy": "Always"}))
}

async fn config_map(scene: Scene) {
    let data = json!({"data": {"a": "one", "b": "two\n"}, "binaryData": {"c": "/v8="}});
    scene.make::<ConfigMap>(with(data, json!({"metadata": {"name": "m"}}))).await;
    let volume = json!({"configMap": {"name": "m", "defaultMode": 0o400}});
    scene.ready("p", staying(volume)).await;
    let ran =
        scene.exec("p", "c", "cat /v/a /v/b; ls /v; wc -c </v/c; stat -c '%a %u:%g' /v/..data/a; readlink /v/a").await;
    assert_eq!(ran.out, "onetwo\na\nb\nc\n2\n400 0:0\n..data/a\n");
    // Nobody can write into it.
    let ran = scene.exec("p", "c", "echo x >/v/a || echo x >/v/new").await;
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("Read-only file system"), "{ran:?}");
}

async fn config_map_items(scene: Scene) {
    scene.make::<ConfigMap>(json!({"metadata": {"name": "m"}, "data": {"a": "one", "b": "two"}})).await;
    let items = json!([{"key": "a", "path": "deep/er/file", "mode": 0o640}, {"key": "a", "path": "again"}]);
    let script = "cat /v/deep/er/file; ls /v; stat -c '%a %F' /v/deep/er/file; stat -c %a /v/..data/again";
    let said = scene.output("p", mounted(sh(script), json!({"configMap": {"name": "m", "items": items}}))).await;
    assert_eq!(said, "oneagain\ndeep\n640 regular file\n644\n");
    // A key that is not there holds the pod.
    let items = json!([{"key": "none", "path": "x"}]);
    scene.pod("held", mounted(sh("true"), json!({"configMap": {"name": "m", "items": items}}))).await;
    wait("an event", async || {
        let found = |e: &String| {
            e.starts_with("held FailedMount: MountVolume.SetUp failed for volume \"v\"")
                && e.contains("references non-existent config key: none")
        };
        scene.events().await.iter().any(found).then_some(())
    })
    .await;
    assert_eq!(
        crate::scenes::container(&scene.get("held").await, "c")["state"]["waiting"]["reason"],
        "ContainerCreating"
    );
}

/// Waits until a command in the pod says this.
async fn says(scene: &Scene, name: &str, script: &str, want: &str) {
    wait(&format!("{name}: {script}: {want:?}"), async || {
        (scene.exec(name, "c", script).await.out == want).then_some(())
    })
    .await;
}

async fn config_map_updates(scene: Scene) {
    scene.make::<ConfigMap>(json!({"metadata": {"name": "m"}, "data": {"a": "1", "b": "1"}})).await;
    scene.ready("p", staying(json!({"configMap": {"name": "m"}}))).await;
    says(&scene, "p", "cat /v/a", "1").await;
    scene.merge::<ConfigMap>("m", json!({"data": {"a": "2", "b": null, "c": "new"}})).await;
    says(&scene, "p", "cat /v/*", "2new").await;
    // All at once: the files are links through one that was switched.
    says(&scene, "p", "ls /v", "a\nc\n").await;
}

async fn optional(scene: Scene) {
    scene.make::<ConfigMap>(json!({"metadata": {"name": "goes"}, "data": {"g": "1"}})).await;
    let sources = json!([
        {"configMap": {"name": "goes", "optional": true}}, {"configMap": {"name": "comes", "optional": true}},
        {"secret": {"name": "never", "optional": true}},
    ]);
    scene.ready("p", staying(json!({"projected": {"sources": sources}}))).await;
    says(&scene, "p", "ls /v", "g\n").await;
    scene.make::<ConfigMap>(json!({"metadata": {"name": "comes"}, "data": {"c": "1"}})).await;
    scene.api::<ConfigMap>().delete("goes", &Default::default()).await.expect("deleted");
    says(&scene, "p", "ls /v", "c\n").await;
}

async fn secret_of_group(scene: Scene) {
    scene.make::<Secret>(json!({"metadata": {"name": "s"}, "stringData": {"a": "hidden"}})).await;
    let script = "cat /v/a; stat -c '%a %u:%g' /v/..data/a; id -u; id -G; grep ' /v ' /proc/mounts";
    let user = json!({"securityContext": {"runAsUser": 1000, "fsGroup": 1001}});
    let volume = json!({"secret": {"secretName": "s", "defaultMode": 0o440}});
    let said = scene.output("p", with(mounted(sh(script), volume), user)).await;
    let (head, mount) = said.rsplit_once("1001\n").expect("the group");
    assert_eq!(head, "hidden440 0:1001\n1000\n0 ");
    // Secrets never touch a disk.
    assert!(mount.contains(" tmpfs ro"), "{mount}");
}

async fn projected(scene: Scene) {
    scene.make::<ConfigMap>(json!({"metadata": {"name": "m"}, "data": {"a": "config"}})).await;
    scene.make::<Secret>(json!({"metadata": {"name": "s"}, "stringData": {"a": "secret"}})).await;
    let item = |name: &str, field: &str| json!({"path": name, "fieldRef": {"fieldPath": field}});
    let cpu = json!({"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}});
    let sources = json!([
        {"configMap": {"name": "m", "items": [{"key": "a", "path": "config/a"}]}},
        {"secret": {"name": "s", "items": [{"key": "a", "path": "secret/a", "mode": 0o600}]}},
        {"downwardAPI": {"items": [item("name", "metadata.name"), item("labels", "metadata.labels"), cpu]}},
        {"serviceAccountToken": {"path": "token", "audience": "someone", "expirationSeconds": 600}},
    ]);
    let script =
        "cat /v/config/a /v/secret/a /v/name /v/labels; echo; cat /v/cpu; stat -c %a /v/secret/a; wc -l </v/token";
    let limit = json!({"resources": {"limits": {"cpu": "1500m"}}});
    let spec = mounted(with(sh(script), limit), json!({"projected": {"defaultMode": 0o444, "sources": sources}}));
    scene.make::<Pod>(json!({"metadata": {"name": "p", "labels": {"x": "y", "a": "b"}}, "spec": spec})).await;
    scene.until("p", "its end", |pod| crate::scenes::over(pod).then_some(())).await;
    assert_eq!(scene.logs("p").await, "configsecretpa=\"b\"\nx=\"y\"\n2600\n0\n");
}

async fn downward(scene: Scene) {
    let item = |name: &str, field: &str| json!({"path": name, "fieldRef": {"fieldPath": field}});
    let items =
        json!([item("labels", "metadata.labels"), item("notes", "metadata.annotations"), item("uid", "metadata.uid")]);
    let spec = staying(json!({"downwardAPI": {"items": items}}));
    scene.make::<Pod>(json!({"metadata": {"name": "p", "labels": {"a": "1"}}, "spec": spec})).await;
    let pod = scene.until("p", "Ready", |pod| crate::scenes::ready(pod).then(|| pod.clone())).await;
    says(&scene, "p", "cat /v/labels /v/uid", &format!("a=\"1\"{}", pod["metadata"]["uid"].as_str().expect("a uid")))
        .await;
    scene.merge::<Pod>("p", json!({"metadata": {"labels": {"b": "2"}, "annotations": {"n": "two\nlines"}}})).await;
    says(&scene, "p", "cat /v/labels", "a=\"1\"\nb=\"2\"").await;
    says(&scene, "p", "cat /v/notes", "n=\"two\\nlines\"").await;
}

async fn shared(scene: Scene) {
    let mount = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let read_only = json!({"volumeMounts": [{"name": "v", "mountPath": "/w", "readOnly": true}]});
    let one = with(sh("echo hello >/v/file; sleep 1000"), mount);
    let two = with(crate::scenes::named("two", "sleep 1000"), read_only);
    scene.ready("p", json!({"containers": [one, two], "volumes": [{"name": "v", "emptyDir": {}}]})).await;
    wait("the other's file", async || (scene.exec("p", "two", "cat /w/file").await.out == "hello\n").then_some(()))
        .await;
    let ran = scene.exec("p", "two", "echo x >/w/file").await;
    assert!(ran.code != 0 && ran.err.contains("Read-only file system"), "{ran:?}");
    // What is in it outlives a container.
    let ran = scene.exec("p", "c", "kill -9 1; kill -TERM 1; cat /v/file").await;
    assert_eq!(ran.out, "hello\n");
}

async fn tmpfs(scene: Scene) {
    let script = "stat -c '%a %u:%g' /v; grep ' /v ' /proc/mounts; echo x >/v/x && cat /v/x";
    let volume = json!({"emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}});
    let said = scene.output("p", mounted(sh(script), volume)).await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines[0], lines[2]), ("777 0:0", "x"), "{said}");
    assert!(lines[1].starts_with("tmpfs /v tmpfs rw") && lines[1].contains("size=4096k"), "{said}");
}

async fn non_root(scene: Scene) {
    let script = "echo x >/v/x && stat -c '%a %u:%g' /v/x /v";
    let user = json!({"securityContext": {"runAsUser": 1001, "runAsGroup": 1002, "fsGroup": 1003}});
    let said = scene.output("p", with(mounted(sh(script), json!({"emptyDir": {}})), user)).await;
    // The volume belongs to the group, and what is made in it too.
    assert_eq!(said, "644 1001:1003\n2777 0:1003\n");
}

async fn host_path(scene: Scene) {
    let dir = std::env::temp_dir().join(format!("ferry-host-path-{}", base::ids::suffix(8)));
    let path = |name: &str| dir.join(name).display().to_string();
    let volume = json!({"hostPath": {"path": path("made"), "type": "DirectoryOrCreate"}});
    let said = scene.output("p", mounted(sh("echo from the pod >/v/file && stat -c %a /v"), volume)).await;
    assert_eq!(said, "755\n");
    assert_eq!(std::fs::read_to_string(dir.join("made/file")).ok().as_deref(), Some("from the pod\n"));
    let volume = json!({"hostPath": {"path": path("made/file"), "type": "File"}});
    assert_eq!(scene.output("file", mounted(sh("cat /v"), volume)).await, "from the pod\n");
    let volume = json!({"hostPath": {"path": path("none"), "type": "Directory"}});
    scene.pod("held", mounted(sh("true"), volume)).await;
    let want = format!(
        "held FailedMount: MountVolume.SetUp failed for volume \"v\" : hostPath type check failed: {} is not a directory",
        path("none")
    );
    wait("an event", async || scene.events().await.contains(&want).then_some(())).await;
    std::fs::remove_dir_all(&dir).expect("removed");
}

async fn sub_path(scene: Scene) {
    scene.make::<ConfigMap>(json!({"metadata": {"name": "m"}, "data": {"a": "one", "b": "two"}})).await;
    let mounts = json!([
        {"name": "m", "mountPath": "/etc/one", "subPath": "a"},
        {"name": "m", "mountPath": "/etc/hostname", "subPath": "b"},
        {"name": "e", "mountPath": "/dir", "subPath": "made/by/kubelet"},
        {"name": "e", "mountPath": "/all"},
    ]);
    let script = "cat /etc/one /etc/hostname; echo x >/dir/x; cat /all/made/by/kubelet/x; ls -a /all/made/by";
    let volumes = json!([{"name": "m", "configMap": {"name": "m"}}, {"name": "e", "emptyDir": {}}]);
    let spec = with(once(with(sh(script), json!({"volumeMounts": mounts}))), json!({"volumes": volumes}));
    assert_eq!(scene.output("p", spec).await, "onetwox\n.\n..\nkubelet\n");
}

async fn sub_path_expr(scene: Scene) {
    let mounts = json!([
        {"name": "v", "mountPath": "/own", "subPathExpr": "logs/$(POD_NAME)"}, {"name": "v", "mountPath": "/all"},
    ]);
    let env = json!([{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    let container = with(sh("echo x >/own/x; cat /all/logs/p/x"), json!({"volumeMounts": mounts, "env": env}));
    let spec = with(once(container), json!({"volumes": [{"name": "v", "emptyDir": {}}]}));
    assert_eq!(scene.output("p", spec).await, "x\n");
    // An expression that leads out of the volume holds the container.
    let mounts = json!([{"name": "v", "mountPath": "/own", "subPathExpr": "$(BAD)"}]);
    let env = json!([{"name": "BAD", "value": "/tmp"}]);
    let container = with(sh("true"), json!({"volumeMounts": mounts, "env": env}));
    scene.pod("bad", with(once(container), json!({"volumes": [{"name": "v", "emptyDir": {}}]}))).await;
    scene
        .until("bad", "the error", |pod| {
            (crate::scenes::container(pod, "c")["state"]["waiting"]["reason"] == "CreateContainerConfigError")
                .then_some(())
        })
        .await;
}

async fn sub_path_mended(scene: Scene) {
    let mounts = json!([
        {"name": "v", "mountPath": "/own", "subPathExpr": "$(ANNOTATION)/x"}, {"name": "v", "mountPath": "/all"},
    ]);
    let field = json!({"fieldRef": {"fieldPath": "metadata.annotations['mysubpath']"}});
    let env = json!([{"name": "ANNOTATION", "valueFrom": field}]);
    let container = with(sh("echo y >/own/f; cat /all/mypath/x/f"), json!({"volumeMounts": mounts, "env": env}));
    scene.pod("p", with(once(container), json!({"volumes": [{"name": "v", "emptyDir": {}}]}))).await;
    scene
        .until("p", "the error", |pod| {
            let status = crate::scenes::container(pod, "c");
            (status["state"]["waiting"]["reason"] == "CreateContainerConfigError").then_some(())
        })
        .await;
    assert_eq!(scene.get("p").await["status"]["phase"], "Pending");
    scene.merge::<Pod>("p", json!({"metadata": {"annotations": {"mysubpath": "mypath"}}})).await;
    let pod = scene.until("p", "its end", |pod| crate::scenes::over(pod).then(|| pod.clone())).await;
    assert_eq!((pod["status"]["phase"].as_str(), scene.logs("p").await.as_str()), (Some("Succeeded"), "y\n"));
}

async fn token(scene: Scene) {
    scene.ready("p", always(sh("sleep 1000"))).await;
    let dir = "/var/run/secrets/kubernetes.io/serviceaccount";
    let read = async |name: &str| scene.exec("p", "c", &format!("cat {dir}/{name}")).await.out;
    let (token, namespace, ca) = (read("token").await, read("namespace").await, read("ca.crt").await);
    assert_eq!(namespace, scene.namespace);
    assert!(ca.starts_with("-----BEGIN CERTIFICATE-----"), "{ca}");
    // The pod's account can say who it is, with that token and no other credential.
    let root = scene.exec("p", "c", "grep serviceaccount /proc/mounts").await.out;
    assert!(root.contains("tmpfs ro"), "{root}");
    let client = scene.with_token(&token).await;
    let reviews: kube::Api<SelfSubjectReview> = kube::Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.expect("a review");
    let user = review.status.and_then(|s| s.user_info).expect("a user");
    assert_eq!(user.username, Some(format!("system:serviceaccount:{}:default", scene.namespace)));
    let extra = user.extra.expect("extra");
    assert_eq!(extra["authentication.kubernetes.io/pod-name"], ["p"]);
    assert!(extra.contains_key("authentication.kubernetes.io/node-name"), "{extra:?}");
    // It may not do what nobody gave it.
    let secrets: kube::Api<Secret> = kube::Api::namespaced(client.clone(), &scene.namespace);
    let refused = secrets.list(&Default::default()).await.expect_err("no right");
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 403));
    // The token goes with its pod.
    scene.delete("p", kube::api::DeleteParams::default().grace_period(0)).await;
    scene.gone("p").await;
    wait("the token's end", async || {
        let refused = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.err()?;
        matches!(refused, kube::Error::Api(status) if status.code == 401).then_some(())
    })
    .await;
}
