//! The real kubectl against `ferry up --nodes 2`: what people type, and what they are used to see. What needs no node is in
//! [`machinery`] and [`specs`], against a server alone.
//!
//! Outputs are snapshots with everything that differs between two runs (ages, hashes, addresses) replaced by a word.

mod bulk;
mod machinery;
mod older;
mod specs;

use crate::common::{Cluster, eventually, server::Server};
use expect_test::{Expect, expect};
use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

struct Kubectl {
    kubeconfig: PathBuf,
    /// kubectl caches discovery below HOME; a test has its own.
    home: PathBuf,
    data: PathBuf,
    port: u16,
}

impl Kubectl {
    /// The administrator's, for a server alone.
    fn of(server: &Server) -> Self {
        let (kubeconfig, home, data) = (server.kubeconfig(), server.dir.0.clone(), server.data());
        Kubectl { kubeconfig, home, data, port: server.port }
    }
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(args).env("HOME", &self.home);
        command.env_remove("KUBECONFIG").current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
        command
    }
    fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("kubectl runs")
    }
    /// Runs it; it must succeed. What it printed, both streams.
    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        let out = self.output(args);
        let text = text(&out);
        assert!(out.status.success(), "kubectl {}: {}\n{text}", args.join(" "), out.status);
        text
    }
    /// Runs it; it must fail. What it said.
    #[track_caller]
    fn fail(&self, args: &[&str]) -> String {
        let out = self.output(args);
        assert!(!out.status.success(), "kubectl {} must fail:\n{}", args.join(" "), text(&out));
        text(&out)
    }
    /// Runs it with something on its standard input; it must succeed.
    #[track_caller]
    fn feed(&self, args: &[&str], input: &str) -> String {
        let out = self.fed(args, input);
        assert!(out.status.success(), "kubectl {}: {}", args.join(" "), text(&out));
        text(&out)
    }
    fn fed(&self, args: &[&str], input: &str) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("written");
        child.wait_with_output().expect("kubectl ends")
    }
    #[track_caller]
    fn check(&self, args: &[&str], want: Expect) {
        want.assert_eq(&stable(&self.run(args)));
    }
}

fn text(out: &Output) -> String {
    let streams = [&out.stdout, &out.stderr].map(|s| String::from_utf8_lossy(s).into_owned());
    let skew = |line: &&str| !line.starts_with("WARNING: version difference");
    streams.concat().lines().filter(skew).map(|l| l.to_string() + "\n").collect()
}

/// Replaces what differs between runs, and makes columns that follow independent of their widths.
fn stable(text: &str) -> String {
    let word = |w: &str| -> String {
        let bare = w.trim_matches(|c| matches!(c, '"' | ',' | '(' | ')'));
        let is_age = bare.len() < 8
            && bare.ends_with(['s', 'm', 'h'])
            && bare.chars().next().is_some_and(|c| c.is_ascii_digit())
            && bare.chars().all(|c| c.is_ascii_digit() || matches!(c, 's' | 'm' | 'h'));
        let is_address = bare.split(['.', ':', '/']).count() >= 4
            && bare.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | ':' | '/'));
        let replaced = match bare {
            _ if is_age => "AGE".to_string(),
            _ if is_address => "ADDRESS".to_string(),
            _ if bare.contains("X509SHA256=") => "DIGEST".to_string(),
            _ => hashes(bare),
        };
        w.replacen(bare, &replaced, 1)
    };
    let line = |l: &str| match l.strip_prefix("CreationTimestamp:") {
        Some(_) => "CreationTimestamp: TIME".to_string(),
        None => l.split_whitespace().map(word).collect::<Vec<_>>().join(" "),
    };
    text.lines().map(|l| line(l) + "\n").collect()
}

/// `web-5d4f8c7b6d-x2x4z` becomes `web-HASH-RANDOM`.
fn hashes(word: &str) -> String {
    let odd = |part: &str| part.len() >= 5 && part.bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b));
    let parts: Vec<&str> = word.split('-').collect();
    let shown = parts.iter().enumerate().map(|(i, part)| match odd(part) && i > 0 {
        true if part.len() == 5 => "RANDOM",
        true => "HASH",
        false => part,
    });
    shown.collect::<Vec<_>>().join("-")
}

/// Every scenario on one cluster, in the order in which a person would come to them.
#[test]
fn what_people_type() {
    let cluster = Cluster::up(&["--nodes", "2"]);
    let (kubeconfig, home) = (cluster.kubeconfig(), cluster.dir.clone());
    let k = Kubectl { kubeconfig, home, data: cluster.data(), port: cluster.port };
    nodes_and_resources(&k);
    apply_and_look(&k);
    logs_and_exec(&k);
    older::streams(&k);
    a_pod_with_everything(&k);
    scale_and_roll(&k);
    change_and_delete(&k);
    a_kind_of_ones_own(&k);
    who_may(&k);
    mistakes(&k);
}

fn nodes_and_resources(k: &Kubectl) {
    k.check(
        &["get", "nodes"],
        expect![[r#"
        NAME STATUS ROLES AGE VERSION
        node-1 Ready <none> AGE v1.36.2+ferry
        node-2 Ready <none> AGE v1.36.2+ferry
    "#]],
    );
    let resources = k.run(&["api-resources"]);
    for line in
        ["pods po v1 true Pod", "deployments deploy apps/v1 true Deployment", "namespaces ns v1 false Namespace"]
    {
        assert!(stable(&resources).contains(line), "{line}: {resources}");
    }
    let node = k.run(&["describe", "node", "node-1"]);
    for part in
        ["Kubelet Version:", "InternalIP:", "MemoryPressure", "KubeletReady", "PodCIDR:", "Non-terminated Pods:"]
    {
        assert!(node.contains(part), "{part}: {node}");
    }
}

fn apply_and_look(k: &Kubectl) {
    k.check(
        &["apply", "-f", "examples/web.yaml"],
        expect![[r#"
        configmap/web created
        deployment.apps/web created
        service/web created
    "#]],
    );
    let rolled = k.run(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    assert!(rolled.ends_with("deployment \"web\" successfully rolled out\n"), "{rolled}");
    k.check(
        &["apply", "-f", "examples/web.yaml"],
        expect![[r#"
        configmap/web unchanged
        deployment.apps/web unchanged
        service/web unchanged
    "#]],
    );
    k.check(
        &["get", "deployment,service,configmap", "web", "-o", "wide"],
        expect![[r#"
        NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR
        deployment.apps/web 2/2 2 2 AGE web ferry.local/toolbox:latest app=web

        NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR
        service/web NodePort ADDRESS <none> 80:30081/TCP AGE app=web

        NAME DATA AGE
        configmap/web 2 AGE
    "#]],
    );
    k.check(
        &["get", "replicasets", "-o", "wide"],
        expect![[r#"
        NAME DESIRED CURRENT READY AGE CONTAINERS IMAGES SELECTOR
        web-HASH 2 2 2 AGE web ferry.local/toolbox:latest app=web,pod-template-hash=6cccf76979
    "#]],
    );
    // Which node has which pod is the scheduler's affair: both have one.
    let pods = stable(&k.run(&["get", "pods", "-l", "app=web", "-o", "wide"]));
    let mut lines: Vec<&str> = pods.lines().collect();
    lines[1..].sort_by_key(|l| l.contains("node-2"));
    expect![[r#"
        NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES
        web-HASH-RANDOM 1/1 Running 0 AGE ADDRESS node-1 <none> <none>
        web-HASH-RANDOM 1/1 Running 0 AGE ADDRESS node-2 <none> <none>
    "#]]
    .assert_eq(&(lines.join("\n") + "\n"));
    let yaml = k.run(&["get", "deployment", "web", "-o", "yaml"]);
    for part in ["apiVersion: apps/v1\n", "kind: Deployment\n", "  replicas: 2\n", "    type: RollingUpdate\n"] {
        assert!(yaml.contains(part), "{part}: {yaml}");
    }
    k.check(
        &["get", "service", "web", "-o", "jsonpath={.spec.ports[0].nodePort} {.spec.type}"],
        expect![[r#"
        30081 NodePort
    "#]],
    );
    k.check(
        &["get", "deploy", "-o", "custom-columns=NAME:.metadata.name,WANTED:.spec.replicas"],
        expect![[r#"
        NAME WANTED
        web 2
    "#]],
    );
    k.check(
        &["get", "pods", "--field-selector", "status.phase=Failed"],
        expect![[r#"
        No resources found in default namespace.
    "#]],
    );
    describe(k);
}

/// What `describe` and an empty namespace look like, while the web site runs.
fn describe(k: &Kubectl) {
    k.check(
        &["describe", "deployment", "web"],
        expect![[r#"
            Name: web
            Namespace: default
            CreationTimestamp: TIME
            Labels: app=web
            Annotations: deployment.kubernetes.io/revision: 1
            Selector: app=web
            Replicas: 2 desired | 2 updated | 2 total | 2 available | 0 unavailable
            StrategyType: RollingUpdate
            MinReadySeconds: 0
            RollingUpdateStrategy: 25% max unavailable, 25% max surge
            Pod Template:
            Labels: app=web
            Containers:
            web:
            Image: ferry.local/toolbox:latest
            Port: 8080/TCP
            Host Port: 0/TCP
            Command:
            httpd
            -p
            8080
            Limits:
            memory: 32Mi
            Requests:
            cpu: AGE
            memory: 8Mi
            Readiness: http-get http://:http/healthz delay=0s timeout=1s period=1s #success=1 #failure=3
            Environment:
            GREETING: <set to the key 'GREETING' of config map 'web'> Optional: false
            POD_NAME: (v1:metadata.name)
            NODE_NAME: (v1:spec.nodeName)
            Mounts:
            /etc/web from settings (rw)
            Volumes:
            settings:
            Type: ConfigMap (a volume populated by a ConfigMap)
            Name: web
            Optional: false
            Node-Selectors: <none>
            Tolerations: <none>
            Conditions:
            Type Status Reason
            ---- ------ ------
            Available True MinimumReplicasAvailable
            Progressing True NewReplicaSetAvailable
            OldReplicaSets: <none>
            NewReplicaSet: web-HASH (2/2 replicas created)
            Events:
            Type Reason Age From Message
            ---- ------ ---- ---- -------
            Normal ScalingReplicaSet AGE deployment-controller Scaled up replica set web-HASH from 0 to 2
        "#]],
    );
    let service = k.run(&["describe", "service", "web"]);
    for part in [
        "Type:                     NodePort",
        "NodePort:                 http  30081/TCP",
        "Endpoints:                10.",
    ] {
        assert!(service.contains(part), "{part}: {service}");
    }
    let pod = k.run(&["describe", "pod", "-l", "app=web"]);
    for part in [
        "Status:           Running",
        "Ready:          True",
        "Restart Count:  0",
        "QoS Class:                   Burstable",
        "Container started",
    ] {
        assert!(pod.contains(part), "{part}: {pod}");
    }
    k.check(
        &["get", "all", "-n", "kube-public"],
        expect![[r#"
        No resources found in kube-public namespace.
    "#]],
    );
    watching(k);
}

/// `get -w` shows what happens while it runs.
fn watching(k: &Kubectl) {
    let mut watch = k
        .command(&["get", "configmaps", "-w", "--watch-only", "-o", "name"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    let mut lines = BufReader::new(watch.stdout.take().expect("stdout")).lines();
    let mut n = 0;
    // Nothing says when the watch has begun: make objects until one is seen.
    let (sender, seen) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while let Some(Ok(line)) = lines.next() {
            let _ = sender.send(line);
        }
    });
    eventually("the watch shows a ConfigMap", || {
        n += 1;
        k.run(&["create", "configmap", &format!("watched-{n}")]);
        seen.recv_timeout(std::time::Duration::from_millis(500)).ok().filter(|l| l.starts_with("configmap/watched-"))
    });
    watch.kill().expect("ended");
    watch.wait().expect("ended");
    for i in 1..=n {
        k.run(&["delete", "configmap", &format!("watched-{i}")]);
    }
}

fn logs_and_exec(k: &Kubectl) {
    let log = k.run(&["logs", "deployment/web", "--tail", "1"]);
    assert!(log.contains("listening on"), "{log}");
    k.run(&[
        "run",
        "counter",
        "--image=ferry.local/toolbox:latest",
        "--restart=Never",
        "--command",
        "--",
        "sh",
        "-c",
        "for i in 1 2 3; do echo line $i; sleep 1; done",
    ]);
    let followed = eventually("the log can be followed", || {
        let out = k.output(&["logs", "-f", "counter"]);
        out.status.success().then(|| text(&out)).filter(|t| t.contains("line 3"))
    });
    assert_eq!(followed, "line 1\nline 2\nline 3\n");
    assert_eq!(k.run(&["logs", "counter", "--tail", "2"]), "line 2\nline 3\n");
    k.check(
        &["delete", "pod", "counter"],
        expect![[r#"
        pod "counter" deleted
    "#]],
    );
    k.check(
        &["exec", "deploy/web", "--", "cat", "/etc/web/motd"],
        expect![[r#"
        Settings of the example "web".
    "#]],
    );
    let greeting = k.run(&["exec", "deploy/web", "--", "sh", "-c", "echo $GREETING"]);
    assert_eq!(greeting, "hello from a ConfigMap\n");
    assert_eq!(k.feed(&["exec", "-i", "deploy/web", "--", "cat"], "typed in\n"), "typed in\n");
    let failed = k.output(&["exec", "deploy/web", "--", "sh", "-c", "exit 7"]);
    assert_eq!(failed.status.code(), Some(7));
    assert!(text(&failed).contains("command terminated with exit code 7"), "{}", text(&failed));
    // A terminal, as `exec -it` gives one: kubectl wants one itself, which `script` provides.
    let typed = format!(
        "kubectl --kubeconfig {} exec -it deploy/web -- sh -c 'test -t 0 && echo a terminal'",
        k.kubeconfig.display()
    );
    let out =
        Command::new("script").args(["-qec", &typed, "/dev/null"]).env("HOME", &k.home).output().expect("script runs");
    assert!(text(&out).contains("a terminal"), "{}", text(&out));
}

fn a_pod_with_everything(k: &Kubectl) {
    k.check(
        &["apply", "-f", "examples/probes.yaml"],
        expect![[r#"
        secret/probes created
        pod/probes created
    "#]],
    );
    k.run(&["wait", "--for=condition=Ready", "pod/probes", "--timeout=90s"]);
    assert!(k.run(&["logs", "probes"]).starts_with("prepared\n"));
    let files = k.run(&["exec", "probes", "-c", "main", "--", "cat", "/work/ready", "/etc/secret/password"]);
    assert_eq!(files, "prepared\nnot a real one\n");
    assert!(k.run(&["exec", "probes", "--", "id"]).contains("uid=1000"));
    k.run(&["delete", "-f", "examples/probes.yaml", "--timeout=90s"]);
}

fn scale_and_roll(k: &Kubectl) {
    k.check(
        &["scale", "deployment/web", "--replicas=3"],
        expect![[r#"
        deployment.apps/web scaled
    "#]],
    );
    k.run(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    k.check(
        &["get", "deployment", "web"],
        expect![[r#"
        NAME READY UP-TO-DATE AVAILABLE AGE
        web 3/3 3 3 AGE
    "#]],
    );
    k.check(
        &["set", "env", "deployment/web", "GREETING=changed"],
        expect![[r#"
        deployment.apps/web env updated
    "#]],
    );
    k.run(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    assert_eq!(k.run(&["exec", "deploy/web", "--", "sh", "-c", "echo $GREETING"]), "changed\n");
    k.check(
        &["rollout", "history", "deployment/web"],
        expect![[r#"
        deployment.apps/web
        REVISION CHANGE-CAUSE
        1 <none>
        2 <none>

    "#]],
    );
    k.check(
        &["rollout", "undo", "deployment/web"],
        expect![[r#"
        deployment.apps/web rolled back
    "#]],
    );
    k.run(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    let back = eventually("the first template is back", || {
        let out = k.output(&["exec", "deploy/web", "--", "sh", "-c", "echo $GREETING"]);
        Some(text(&out)).filter(|t| t == "hello from a ConfigMap\n")
    });
    assert_eq!(back, "hello from a ConfigMap\n");
    k.check(
        &["rollout", "restart", "deployment/web"],
        expect![[r#"
        deployment.apps/web restarted
    "#]],
    );
    k.run(&["rollout", "status", "deployment/web", "--timeout=90s"]);
    let sets = k.run(&["get", "replicasets", "-o", "jsonpath={.items[*].spec.replicas}"]);
    let mut sizes: Vec<&str> = sets.split_whitespace().collect();
    sizes.sort_unstable();
    assert_eq!(sizes, ["0", "0", "3"]);
    let events = k.run(&["events", "--for", "deployment/web"]);
    assert!(events.contains("ScalingReplicaSet"), "{events}");
}

fn change_and_delete(k: &Kubectl) {
    k.check(
        &["label", "deployment", "web", "tier=front"],
        expect![[r#"
        deployment.apps/web labeled
    "#]],
    );
    k.check(
        &["get", "deployments", "-l", "tier in (front,back)", "-L", "tier"],
        expect![[r#"
        NAME READY UP-TO-DATE AVAILABLE AGE TIER
        web 3/3 3 3 AGE front
    "#]],
    );
    k.check(
        &["annotate", "deployment", "web", "note=seen"],
        expect![[r#"
        deployment.apps/web annotated
    "#]],
    );
    k.check(
        &[
            "patch",
            "deployment",
            "web",
            "-p",
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"EXTRA","value":"1"}]}]}}}}"#,
        ],
        expect![[r#"
            deployment.apps/web patched
        "#]],
    );
    // Strategic: the list of variables is merged by name.
    let names = k.run(&["get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env[*].name}"]);
    let mut names: Vec<&str> = names.split_whitespace().collect();
    names.sort_unstable();
    assert_eq!(names, ["EXTRA", "GREETING", "NODE_NAME", "POD_NAME"]);
    k.check(
        &["patch", "configmap", "web", "--type=merge", "-p", r#"{"data":{"GREETING":"new"}}"#],
        expect![[r#"
        configmap/web patched
    "#]],
    );
    k.check(
        &["patch", "configmap", "web", "--type=json", "-p", r#"[{"op":"remove","path":"/data/GREETING"}]"#],
        expect![[r#"
            configmap/web patched
        "#]],
    );
    k.check(
        &["wait", "--for=condition=Available", "deployment/web", "--timeout=90s"],
        expect![[r#"
        deployment.apps/web condition met
    "#]],
    );
    k.check(
        &["delete", "-f", "examples/web.yaml"],
        expect![[r#"
        configmap "web" deleted
        deployment.apps "web" deleted
        service "web" deleted
    "#]],
    );
    eventually("nothing of it is left", || {
        let left = k.run(&["get", "pods,replicasets,endpointslices", "-l", "app=web", "-o", "name"]);
        left.is_empty().then_some(())
    });
    k.check(
        &["create", "namespace", "short"],
        expect![[r#"
        namespace/short created
    "#]],
    );
    k.run(&["create", "deployment", "d", "--image=ferry.local/toolbox:latest", "-n", "short", "--", "sleep", "1000"]);
    k.check(
        &["delete", "namespace", "short", "--timeout=90s"],
        expect![[r#"
        namespace "short" deleted
    "#]],
    );
    k.check(&["get", "namespace", "short", "--ignore-not-found"], expect![[r#""#]]);
}

fn a_kind_of_ones_own(k: &Kubectl) {
    k.check(
        &["apply", "-f", "examples/boat-kind.yaml"],
        expect![[r#"
        customresourcedefinition.apiextensions.k8s.io/boats.harbour.example.com created
    "#]],
    );
    k.check(
        &["wait", "--for=condition=Established", "crd/boats.harbour.example.com", "--timeout=30s"],
        expect![[r#"
            customresourcedefinition.apiextensions.k8s.io/boats.harbour.example.com condition met
        "#]],
    );
    k.check(
        &["apply", "-f", "examples/boats.yaml"],
        expect![[r#"
        boat.harbour.example.com/morning created
        boat.harbour.example.com/evening created
    "#]],
    );
    k.check(
        &["get", "boats"],
        expect![[r#"
        NAME ROUTE SEATS AGE
        evening island to harbour 120 AGE
        morning harbour to island 40 AGE
    "#]],
    );
    k.check(
        &["get", "bo", "morning", "-o", "jsonpath={.spec}"],
        expect![[r#"
        {"colour":"blue","crew":2,"route":"harbour to island","seats":40}
    "#]],
    );
    k.check(
        &["scale", "boat/morning", "--replicas=5"],
        expect![[r#"
        boat.harbour.example.com/morning scaled
    "#]],
    );
    k.check(
        &["explain", "boat.spec.route"],
        expect![[r#"
        GROUP: harbour.example.com
        KIND: Boat
        VERSION: v1

        FIELD: route <string>


        DESCRIPTION:
        From where to where.


    "#]],
    );
    let boat = "apiVersion: harbour.example.com/v1\nkind: Boat\nmetadata: {name: wreck}\nspec: {route: nowhere, seats: 0, colour: green}\n";
    let out = k.fed(&["apply", "-f", "-"], boat);
    assert!(!out.status.success());
    expect![[r#"
        The Boat "wreck" is invalid: 
        * spec.colour: Unsupported value: "green": supported values: "white", "blue", "red"
        * spec.seats: Invalid value: 0: spec.seats in body should be greater than or equal to 1
    "#]]
    .assert_eq(&text(&out));
    k.check(
        &["delete", "crd", "boats.harbour.example.com", "--timeout=60s"],
        expect![[r#"
        customresourcedefinition.apiextensions.k8s.io "boats.harbour.example.com" deleted
    "#]],
    );
    expect![[r#"
        Error from server (NotFound): Unable to list "harbour.example.com/v1, Resource=boats": the server could not find the requested resource
    "#]].assert_eq(&k.fail(&["get", "boats"]));
}

fn who_may(k: &Kubectl) {
    k.check(
        &["auth", "can-i", "create", "pods"],
        expect![[r#"
        yes
    "#]],
    );
    k.check(
        &["auth", "whoami"],
        expect![[r#"
        ATTRIBUTE VALUE
        Username ferry-admin
        Groups [system:masters system:authenticated]
        Extra: authentication.kubernetes.io/credential-id DIGEST
    "#]],
    );
    k.check(
        &["apply", "-f", "examples/rbac.yaml"],
        expect![[r#"
        namespace/readers created
        serviceaccount/reader created
        role.rbac.authorization.k8s.io/pod-reader created
        rolebinding.rbac.authorization.k8s.io/reader-reads-pods created
    "#]],
    );
    let reader = "--as=system:serviceaccount:readers:reader";
    k.check(
        &["auth", "can-i", "list", "pods", reader, "-n", "readers"],
        expect![[r#"
        yes
    "#]],
    );
    expect![[r#"
        no
    "#]]
    .assert_eq(&k.fail(&["auth", "can-i", "delete", "pods", reader, "-n", "readers"]));
    expect![[r#"
        Error from server (Forbidden): secrets is forbidden: User "system:serviceaccount:readers:reader" cannot list resource "secrets" in API group "" in the namespace "readers"
    "#]].assert_eq(&k.fail(&["get", "secrets", reader, "-n", "readers"]));
    let token = k.run(&["create", "token", "reader", "-n", "readers"]);
    assert_eq!(token.trim().split('.').count(), 3, "a JWT");
    let config = k.home.join("token-config");
    std::fs::write(&config, "").expect("an empty kubeconfig");
    let with_token = |args: &[&str]| {
        let mut all = vec!["--token", token.trim()];
        all.extend(args);
        // The admin's certificate must not speak for the token.
        let server = format!("https://127.0.0.1:{}", k.port);
        let ca = k.data.join("pki/ca.crt");
        let mut command = Command::new("kubectl");
        command.env("HOME", &k.home).env("KUBECONFIG", &config).args(["--server", &server]);
        command.arg("--certificate-authority").arg(ca).args(all).output().expect("kubectl runs")
    };
    assert!(with_token(&["get", "pods", "-n", "readers"]).status.success());
    let refused = text(&with_token(&["get", "pods", "-n", "default"]));
    expect![[r#"
        Error from server (Forbidden): pods is forbidden: User "system:serviceaccount:readers:reader" cannot list resource "pods" in API group "" in the namespace "default"
    "#]].assert_eq(&refused);
    // The namespace takes the rest along: what is gone by then is no error.
    k.run(&["delete", "-f", "examples/rbac.yaml", "--timeout=90s", "--ignore-not-found"]);
}

fn mistakes(k: &Kubectl) {
    expect![[r#"
        Error from server (NotFound): pods "nobody" not found
    "#]]
    .assert_eq(&k.fail(&["get", "pod", "nobody"]));
    expect![[r#"
        error: the server doesn't have a resource type "fridges"
    "#]]
    .assert_eq(&k.fail(&["get", "fridges"]));
    expect![[r#"
        error: failed to create configmap: ConfigMap "Not_A_Name" is invalid: metadata.name: Invalid value: "Not_A_Name": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
    "#]].assert_eq(&k.fail(&["create", "configmap", "Not_A_Name"]));
    expect![[r#"
        error: no objects passed to scale deployments.apps "nobody" not found
    "#]]
    .assert_eq(&k.fail(&["scale", "deployment/nobody", "--replicas=1"]));
    k.run(&["run", "typo", "--image=ferry.local/not-there:latest"]);
    let reason = eventually("the image is looked for in vain", || {
        let out = k.run(&["get", "pod", "typo", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}"]);
        Some(out.trim().to_string()).filter(|r| r.contains("ImagePull"))
    });
    assert!(["ErrImagePull", "ImagePullBackOff"].contains(&reason.as_str()), "{reason}");
    k.run(&["delete", "pod", "typo", "--now"]);
}
