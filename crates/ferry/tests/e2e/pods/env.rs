//! Environment, commands and their expansion.

use crate::scenes::{Scene, container, once, ready, scenarios, sh, wait, with};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use serde_json::{Value, json};

scenarios! {
    "[sig-node] Variable Expansion should allow composing env vars into new env vars [NodeConformance] [Conformance]"
        => composed,
    "[sig-node] Variable Expansion should allow substituting values in a container's command [NodeConformance] [Conformance]"
        => in_commands,
    "[sig-node] Containers should use the image defaults if command and args are blank [NodeConformance] [Conformance]"
        => image_defaults,
    "[sig-node] Downward API should provide pod name, namespace and IP address as env vars [NodeConformance] [Conformance]"
        => fields,
    "[sig-node] Downward API should provide container's limits.cpu/memory and requests.cpu/memory as env vars [NodeConformance] [Conformance]"
        => resources,
    "[sig-node] Downward API should provide default limits.cpu/memory from node allocatable [NodeConformance] [Conformance]"
        => default_resources,
    "[sig-node] ConfigMap should be consumable via the environment [NodeConformance] [Conformance]" => config_map,
    "[sig-node] Secrets should be consumable from pods in env vars [NodeConformance] [Conformance]" => secret,
    "[sig-node] Pods should contain environment variables for services [NodeConformance] [Conformance]" => services,
    "a missing ConfigMap is a CreateContainerConfigError until it is there" => missing,
}

/// A container that prints its environment's variables with a prefix.
fn printer(env: Value) -> Value {
    with(sh("env"), json!({"env": env}))
}

/// The value of a variable in what `env` printed.
fn of<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

async fn composed(scene: Scene) {
    let said = scene
        .output(
            "p",
            once(printer(json!([
                {"name": "FOO", "value": "foo-value"},
                {"name": "BAR", "value": "bar-value"},
                {"name": "FOOBAR", "value": "$(FOO);;$(BAR)"},
                {"name": "ESCAPED", "value": "$$(FOO) $(NONE) $(LATER)"},
                {"name": "LATER", "value": "later"},
            ]))),
        )
        .await;
    assert_eq!(of(&said, "FOOBAR"), Some("foo-value;;bar-value"));
    assert_eq!(of(&said, "ESCAPED"), Some("$(FOO) $(NONE) $(LATER)"));
    assert_eq!(of(&said, "HOSTNAME"), Some("p"));
    assert!(of(&said, "KUBERNETES_SERVICE_HOST").is_some() && of(&said, "KUBERNETES_SERVICE_PORT") == Some("443"));
    assert!(of(&said, "PATH").is_some(), "{said}");
}

async fn in_commands(scene: Scene) {
    let more = json!({
        "command": ["sh", "-c", "echo $(WORD) \"$@\""], "args": ["name", "$(WORD)s", "$$(WORD)", "$(NONE)"],
        "env": [{"name": "WORD", "value": "test-value"}], "workingDir": "/proc",
    });
    let said = scene.output("p", once(with(sh(""), more))).await;
    assert_eq!(said, "test-value test-values $(WORD) $(NONE)\n");
}

async fn image_defaults(scene: Scene) {
    // The image's command is its web server.
    let mut spec = sh("");
    spec.as_object_mut().expect("an object").remove("command");
    scene.ready("p", json!({"containers": [spec]})).await;
    wait("the image's own command", async || scene.logs("p").await.contains("listening on").then_some(())).await;
    // An image without entry point: arguments alone are the command.
    let mut spec = sh("");
    spec.as_object_mut().expect("an object").remove("command");
    let said = scene.output("args", once(with(spec, json!({"args": ["echo", "args"]})))).await;
    assert_eq!(said, "args\n");
    let said = scene.output("both", once(with(sh(""), json!({"command": ["echo"], "args": ["a", "b  c"]})))).await;
    assert_eq!(said, "a b  c\n");
}

async fn fields(scene: Scene) {
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let env = json!([
        field("NAME", "metadata.name"), field("NAMESPACE", "metadata.namespace"), field("UID", "metadata.uid"),
        field("LABEL", "metadata.labels['a']"), field("NOTE", "metadata.annotations['example.com/b']"),
        field("NODE", "spec.nodeName"), field("ACCOUNT", "spec.serviceAccountName"),
        field("POD_IP", "status.podIP"), field("POD_IPS", "status.podIPs"),
        field("HOST_IP", "status.hostIP"), field("HOST_IPS", "status.hostIPs"),
        {"name": "TOGETHER", "value": "$(NAME).$(NAMESPACE)"},
    ]);
    let metadata = json!({"name": "p", "labels": {"a": "label"}, "annotations": {"example.com/b": "note"}});
    scene.make::<Pod>(json!({"metadata": metadata, "spec": once(printer(env))})).await;
    let pod = scene.until("p", "its end", |pod| crate::scenes::over(pod).then(|| pod.clone())).await;
    let said = scene.logs("p").await;
    let ip = pod["status"]["podIP"].as_str().expect("an address");
    let host = pod["status"]["hostIP"].as_str().expect("an address");
    for (name, want) in [
        ("NAME", "p"),
        ("NAMESPACE", &scene.namespace),
        ("UID", pod["metadata"]["uid"].as_str().expect("a uid")),
        ("LABEL", "label"),
        ("NOTE", "note"),
        ("NODE", pod["spec"]["nodeName"].as_str().expect("a node")),
        ("ACCOUNT", "default"),
        ("POD_IP", ip),
        ("POD_IPS", ip),
        ("HOST_IP", host),
        ("HOST_IPS", host),
        ("TOGETHER", &format!("p.{}", scene.namespace)),
    ] {
        assert_eq!(of(&said, name), Some(want), "{name}\n{said}");
    }
}

fn amount(name: &str, resource: &str, divisor: &str) -> Value {
    json!({"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": divisor}}})
}

async fn resources(scene: Scene) {
    let env = json!([
        amount("CPU_LIMIT", "limits.cpu", "0"),
        amount("CPU_REQUEST", "requests.cpu", "1m"),
        amount("MEMORY_LIMIT", "limits.memory", "0"),
        amount("MEMORY_REQUEST", "requests.memory", "1Mi"),
    ]);
    let asked = json!({"limits": {"cpu": "1250m", "memory": "64Mi"}, "requests": {"cpu": "25m", "memory": "32Mi"}});
    let said = scene.output("p", once(with(printer(env), json!({"resources": asked})))).await;
    // A CPU that is begun counts whole.
    assert_eq!(of(&said, "CPU_LIMIT"), Some("2"));
    assert_eq!(of(&said, "CPU_REQUEST"), Some("25"));
    assert_eq!(of(&said, "MEMORY_LIMIT"), Some("67108864"));
    assert_eq!(of(&said, "MEMORY_REQUEST"), Some("32"));
}

async fn default_resources(scene: Scene) {
    let env = json!([amount("CPU_LIMIT", "limits.cpu", "1"), amount("MEMORY_LIMIT", "limits.memory", "1")]);
    let said = scene.output("p", once(printer(env))).await;
    let nodes: kube::Api<k8s_openapi::api::core::v1::Node> = kube::Api::all(scene.client.clone());
    let node = nodes.list(&Default::default()).await.expect("nodes").items.remove(0);
    let allocatable = node.status.and_then(|s| s.allocatable).expect("allocatable");
    let bytes = |text: &str| match text.strip_suffix("Ki") {
        Some(n) => n.parse::<u64>().expect("a number") * 1024,
        None => text.parse().expect("a number"),
    };
    assert_eq!(of(&said, "CPU_LIMIT"), Some(allocatable["cpu"].0.as_str()));
    let memory = of(&said, "MEMORY_LIMIT").expect("a limit").parse::<u64>();
    assert_eq!(memory, Ok(bytes(&allocatable["memory"].0)));
}

async fn config_map(scene: Scene) {
    scene
        .make::<ConfigMap>(json!({"metadata": {"name": "c"}, "data": {"data-1": "value-1", "other": "two\nlines"}}))
        .await;
    let from = |name: &str, map: &str, key: &str, optional: bool| json!({"name": name, "valueFrom": {"configMapKeyRef": {"name": map, "key": key, "optional": optional}}});
    let env = json!([
        from("ONE", "c", "data-1", false), from("NO_KEY", "c", "none", true), from("NO_MAP", "none", "none", true),
        {"name": "p_other", "value": "own"},
    ]);
    let sources = json!([
        {"configMapRef": {"name": "c"}}, {"prefix": "p_", "configMapRef": {"name": "c"}},
        {"configMapRef": {"name": "none", "optional": true}},
    ]);
    let said = scene.output("p", once(with(printer(env), json!({"envFrom": sources})))).await;
    assert_eq!(of(&said, "ONE"), Some("value-1"));
    assert_eq!((of(&said, "NO_KEY"), of(&said, "NO_MAP")), (None, None));
    // Keys need not be C identifiers; `env` comes after `envFrom`.
    assert_eq!((of(&said, "data-1"), of(&said, "p_data-1")), (Some("value-1"), Some("value-1")));
    assert_eq!((of(&said, "other"), of(&said, "p_other")), (Some("two"), Some("own")));
}

async fn secret(scene: Scene) {
    scene
        .make::<Secret>(json!({"metadata": {"name": "s"}, "stringData": {"data-1": "value-1", "b": "x=$(ONE)"}}))
        .await;
    let env = json!([
        {"name": "ONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "data-1"}}},
        {"name": "RAW", "valueFrom": {"secretKeyRef": {"name": "s", "key": "b"}}},
        {"name": "TWO", "value": "<$(ONE)>"},
    ]);
    let more = json!({"envFrom": [{"prefix": "all_", "secretRef": {"name": "s"}}]});
    let said = scene.output("p", once(with(printer(env), more))).await;
    assert_eq!((of(&said, "ONE"), of(&said, "TWO")), (Some("value-1"), Some("<value-1>")));
    // What comes from an object is not expanded.
    assert_eq!((of(&said, "RAW"), of(&said, "all_b")), (Some("x=$(ONE)"), Some("x=$(ONE)")));
}

async fn services(scene: Scene) {
    let spec = json!({"selector": {"a": "b"}, "ports": [{"name": "web", "port": 8765, "targetPort": 8080}]});
    let made = scene.make::<Service>(json!({"metadata": {"name": "foo-service"}, "spec": spec})).await;
    let ip = made.spec.and_then(|s| s.cluster_ip).expect("an address");
    // The node may hear of the Service a moment after it was made.
    let mut n = 0;
    let said = loop {
        n += 1;
        let said = scene.output(&format!("p{n}"), once(printer(json!([])))).await;
        if of(&said, "FOO_SERVICE_SERVICE_HOST").is_some() || n == 20 {
            break said;
        }
    };
    for (name, want) in [
        ("FOO_SERVICE_SERVICE_HOST", ip.clone()),
        ("FOO_SERVICE_SERVICE_PORT", "8765".into()),
        ("FOO_SERVICE_SERVICE_PORT_WEB", "8765".into()),
        ("FOO_SERVICE_PORT", format!("tcp://{ip}:8765")),
        ("FOO_SERVICE_PORT_8765_TCP", format!("tcp://{ip}:8765")),
        ("FOO_SERVICE_PORT_8765_TCP_PROTO", "tcp".into()),
        ("FOO_SERVICE_PORT_8765_TCP_ADDR", ip.clone()),
    ] {
        assert_eq!(of(&said, name), Some(want.as_str()), "{name}");
    }
    let off = json!({"enableServiceLinks": false});
    let said = scene.output("off", with(once(printer(json!([]))), off)).await;
    assert_eq!(of(&said, "FOO_SERVICE_SERVICE_HOST"), None);
    assert!(of(&said, "KUBERNETES_SERVICE_HOST").is_some());
}

async fn missing(scene: Scene) {
    let env = json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "k"}}}]);
    scene.pod("p", json!({"containers": [with(sh("echo $A; sleep 1000"), json!({"env": env}))]})).await;
    let waiting = |message: String| {
        move |pod: &Value| {
            let waiting = &container(pod, "c")["state"]["waiting"];
            (waiting["reason"] == "CreateContainerConfigError" && waiting["message"] == message).then(|| pod.clone())
        }
    };
    let pod = scene.until("p", "the error", waiting("configmap \"later\" not found".into())).await;
    assert_eq!(pod["status"]["phase"], "Pending");
    wait("an event", async || {
        scene.events().await.contains(&"p Failed: Error: configmap \"later\" not found".to_string()).then_some(())
    })
    .await;
    scene.make::<ConfigMap>(json!({"metadata": {"name": "later"}, "data": {"other": "x"}})).await;
    let no_key = format!("couldn't find key k in ConfigMap {}/later", scene.namespace);
    scene.until("p", "the other error", waiting(no_key)).await;
    scene.merge::<ConfigMap>("later", json!({"data": {"k": "here"}})).await;
    let pod = scene.until("p", "Ready", |pod| ready(pod).then(|| pod.clone())).await;
    assert_eq!(container(&pod, "c")["restartCount"], 0);
    // Without a readiness probe a pod is Ready before its first line is written.
    wait("its line", async || (scene.logs("p").await == "here\n").then_some(())).await;
}
