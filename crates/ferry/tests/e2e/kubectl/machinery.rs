//! kubectl against `ferry server`: what it does with the API alone. No container runs, so none of this waits for a turn.

use super::{Kubectl, text};
use crate::common::server::Server;
use expect_test::expect;
use std::{
    fs,
    process::{Command, Stdio},
};

const CONFIG: &str = "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: shared}, data: {a: '1'}}\n";
const CHANGED: &str = "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: shared}, data: {a: '2'}}\n";
const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: 'registry.example.com/c:1'}]}
";

#[test]
fn the_api_alone() {
    let mut server = Server::new();
    server.start();
    let k = Kubectl::of(&server);
    server_side_apply(&k);
    diff_and_last_applied(&k);
    edit(&k);
    validate(&k);
    subresources(&k);
    wait(&k);
    versions(&k);
    explain(&k);
    raw(&k);
    rights(&k);
    certificates(&k);
    pages(&k);
    server.terminate();
}

/// Runs it with input; it must fail. What it said.
#[track_caller]
pub fn refused(k: &Kubectl, args: &[&str], input: &str) -> String {
    let out = k.fed(args, input);
    assert!(!out.status.success(), "kubectl {} must fail:\n{}", args.join(" "), text(&out));
    text(&out)
}

/// A value that was asked for, without the line's end.
#[track_caller]
fn value(k: &Kubectl, args: &[&str]) -> String {
    k.run(args).trim_end().into()
}

fn server_side_apply(k: &Kubectl) {
    let apply = |manager: &'static str| ["apply", "--server-side", "-f", "-", "--field-manager", manager];
    expect![[r#"
        configmap/shared serverside-applied
    "#]]
    .assert_eq(&k.feed(&apply("one"), CONFIG));
    expect![[r#"
        configmap/shared serverside-applied
    "#]]
    .assert_eq(&k.feed(&apply("two"), CONFIG));
    expect![[r#"
        error: Apply failed with 1 conflict: conflict with "one": .data.a
        Please review the fields above--they currently have other managers. Here
        are the ways you can resolve this warning:
        * If you intend to manage all of these fields, please re-run the apply
          command with the `--force-conflicts` flag.
        * If you do not intend to manage all of the fields, please edit your
          manifest to remove references to the fields that should keep their
          current managers.
        * You may co-own fields by updating your manifest to match the existing
          value; in this case, you'll become the manager if the other manager(s)
          stop managing the field (remove it from their configuration).
        See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts
    "#]]
    .assert_eq(&refused(k, &apply("two"), CHANGED));
    expect![[r#"
        configmap/shared serverside-applied
    "#]]
    .assert_eq(&k.feed(&[&apply("two")[..], &["--force-conflicts"]].concat(), CHANGED));
    let managers = "jsonpath={range .metadata.managedFields[*]}{.manager} {.operation} {.fieldsV1}{\"\\n\"}{end}";
    k.check(
        &["get", "configmap", "shared", "--show-managed-fields", "-o", managers],
        expect![[r#"
        two Apply {"f:data":{"f:a":{}}}
    "#]],
    );
    // What a manager leaves out and nobody else owns is gone.
    let less = "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: shared}}\n";
    k.feed(&apply("two"), less);
    assert_eq!(k.run(&["get", "configmap", "shared", "-o", "jsonpath={.data}"]), "");
    k.run(&["delete", "configmap", "shared"]);
}

fn diff_and_last_applied(k: &Kubectl) {
    k.feed(&["apply", "-f", "-"], CONFIG);
    let same = k.fed(&["diff", "-f", "-"], CONFIG);
    assert_eq!((same.status.code(), text(&same)), (Some(0), String::new()));
    let other = k.fed(&["diff", "-f", "-"], CHANGED);
    assert_eq!(other.status.code(), Some(1), "{}", text(&other));
    let changes: String = text(&other).lines().filter(|l| l.starts_with("-  ") || l.starts_with("+  ")).collect();
    assert_eq!(changes, "-  a: \"1\"+  a: \"2\"");
    expect![[r#"
        configmap/shared configured (server dry run)
    "#]]
    .assert_eq(&k.feed(&["apply", "-f", "-", "--dry-run=server"], CHANGED));
    k.check(
        &["apply", "view-last-applied", "configmap", "shared"],
        expect![[r#"
        apiVersion: v1
        data:
        a: "1"
        kind: ConfigMap
        metadata:
        annotations: {}
        name: shared
        namespace: default
    "#]],
    );
    // From one way of applying to the other: nothing is in conflict, and the annotation's owner is gone.
    expect![[r#"
        configmap/shared serverside-applied
    "#]]
    .assert_eq(&k.feed(&["apply", "--server-side", "-f", "-"], CHANGED));
    k.run(&["delete", "configmap", "shared"]);
}

fn edit(k: &Kubectl) {
    k.feed(&["apply", "-f", "-"], DEPLOYMENT);
    let edited = |script: &str| {
        let mut command = k.command(&["edit", "deployment", "web"]);
        command.env("KUBE_EDITOR", format!("sed -i {script}")).output().expect("kubectl runs")
    };
    expect![[r#"
        deployment.apps/web edited
    "#]]
    .assert_eq(&text(&edited("s/c:1/c:2/")));
    expect![[r#"
        Edit cancelled, no changes made.
    "#]]
    .assert_eq(&text(&edited("s/nothing/at-all/")));
    let image = "jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(value(k, &["get", "deployment", "web", "-o", image]), "registry.example.com/c:2");
    // What is wrong is put before the person once more, with the reason; unchanged, it is given up.
    let wrong = edited("s/replicas:.0/replicas:\\ -1/");
    assert!(text(&wrong).starts_with("error: deployments.apps \"web\" is invalid\n"), "{}", text(&wrong));
    let kept = text(&wrong);
    let kept = kept.split('"').find(|part| part.ends_with(".yaml")).expect("a file");
    let told = fs::read_to_string(kept).expect("the copy");
    let told: String = told.lines().filter(|l| l.starts_with("# *") || l.starts_with("# deployments")).collect();
    expect![[r##"# deployments.apps "web" was not valid:# * spec.replicas: Invalid value: -1: must be greater than or equal to 0"##]].assert_eq(&told);
    let _ = fs::remove_file(kept);
    k.run(&["delete", "deployment", "web"]);
}

fn validate(k: &Kubectl) {
    let unknown = "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: v, lables: {}}, dta: {a: b}}\n";
    expect![[r#"
        Error from server (BadRequest): error when creating "STDIN": ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dta", unknown field "metadata.lables"
    "#]].assert_eq(&refused(k, &["create", "-f", "-"], unknown));
    expect![[r#"
        configmap/v created
        Warning: unknown field "dta"
        Warning: unknown field "metadata.lables"
    "#]]
    .assert_eq(&k.feed(&["create", "-f", "-", "--validate=warn"], unknown));
    expect![[r#"
        configmap/v replaced
    "#]]
    .assert_eq(&k.feed(&["replace", "-f", "-", "--validate=false"], unknown));
    let wrong = DEPLOYMENT.replace("replicas: 0", "replicas: many");
    expect![[r#"
        Error from server (BadRequest): error when creating "STDIN": Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32
    "#]].assert_eq(&refused(k, &["create", "-f", "-"], &wrong));
    let nameless = DEPLOYMENT.replace("{name: c, ", "{");
    expect![[r#"
        The Deployment "web" is invalid: spec.template.spec.containers[0].name: Required value
    "#]]
    .assert_eq(&refused(k, &["create", "-f", "-", "--dry-run=server"], &nameless));
    k.run(&["delete", "configmap", "v"]);
}

fn subresources(k: &Kubectl) {
    k.feed(&["create", "-f", "-"], DEPLOYMENT);
    let patch = ["patch", "deployment", "web", "--type=merge"];
    k.check(
        &[&patch[..], &["--subresource=scale", "-p", r#"{"spec":{"replicas":2}}"#]].concat(),
        expect![[r#"
        scale.autoscaling/web patched
    "#]],
    );
    k.check(
        &["get", "deployment", "web", "--subresource=scale"],
        expect![[r#"
            NAME DESIRED AVAILABLE AGE
            web 2 2 AGE
        "#]],
    );
    let condition = r#"{"status":{"conditions":[{"type":"Tested","status":"True"}]}}"#;
    k.check(
        &[&patch[..], &["--subresource=status", "-p", condition]].concat(),
        expect![[r#"
        deployment.apps/web patched
    "#]],
    );
    expect![[r#"
        Error from server (NotFound): the server could not find the requested resource
    "#]]
    .assert_eq(&k.fail(&[&patch[..], &["--subresource=nothing", "-p", "{}"]].concat()));
    let other = r#"{"spec":{"selector":{"matchLabels":{"app":"other"}}}}"#;
    expect![[r#"
        The Deployment "web" is invalid: 
        * spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`
        * spec.selector: Invalid value: {"matchLabels":{"app":"other"}}: field is immutable
    "#]]
    .assert_eq(&k.fail(&["patch", "deployment", "web", "-p", other]));
    k.run(&["delete", "deployment", "web", "--cascade=foreground"]);
}

fn wait(k: &Kubectl) {
    k.feed(&["create", "-f", "-"], CONFIG);
    k.check(
        &["wait", "--for=create", "configmap/shared", "--timeout=30s"],
        expect![[r#"
        configmap/shared condition met
    "#]],
    );
    k.check(
        &["wait", "--for=jsonpath={.data.a}=1", "configmap/shared", "--timeout=30s"],
        expect![[r#"
        configmap/shared condition met
    "#]],
    );
    let late = k.fail(&["wait", "--for=jsonpath={.data.a}=2", "configmap/shared", "--timeout=0s"]);
    expect![[r#"
        error: condition not met for configmaps/shared
    "#]]
    .assert_eq(&late);
    let mut waiting = k.command(&["wait", "--for=delete", "configmap/shared", "--timeout=90s"]);
    let mut waiting = waiting.stdout(Stdio::null()).spawn().expect("kubectl runs");
    k.run(&["delete", "configmap", "shared"]);
    assert!(waiting.wait().expect("it ends").success());
}

/// One object by the paths of two versions.
fn versions(k: &Kubectl) {
    k.feed(&["create", "-f", "-"], DEPLOYMENT);
    k.run(&["autoscale", "deployment", "web", "--max=3", "--cpu-percent=50"]);
    let of = |version: &str, path: &str| {
        value(k, &["get", &format!("horizontalpodautoscalers.{version}.autoscaling"), "web", "-o", path])
    };
    assert_eq!(of("v1", "jsonpath={.apiVersion} {.spec.targetCPUUtilizationPercentage}"), "autoscaling/v1 50");
    let metric = "jsonpath={.apiVersion} {.spec.metrics[0].resource.target.averageUtilization}";
    assert_eq!(of("v2", metric), "autoscaling/v2 50");
    k.check(
        &["get", "hpa"],
        expect![[r#"
        NAME REFERENCE TARGETS MINPODS MAXPODS REPLICAS AGE
        web Deployment/web cpu: <unknown>/50% 1 3 0 AGE
    "#]],
    );
    k.run(&["delete", "hpa,deployment", "web"]);
    k.check(
        &["api-versions"],
        expect![[r#"
        admissionregistration.k8s.io/v1
        apiextensions.k8s.io/v1
        apiregistration.k8s.io/v1
        apps/v1
        authentication.k8s.io/v1
        authorization.k8s.io/v1
        autoscaling/v1
        autoscaling/v2
        batch/v1
        certificates.k8s.io/v1
        coordination.k8s.io/v1
        discovery.k8s.io/v1
        events.k8s.io/v1
        flowcontrol.apiserver.k8s.io/v1
        networking.k8s.io/v1
        node.k8s.io/v1
        policy/v1
        rbac.authorization.k8s.io/v1
        resource.k8s.io/v1
        scheduling.k8s.io/v1
        storage.k8s.io/v1
        v1
    "#]],
    );
    k.check(
        &["api-resources", "--api-group=batch", "-o", "wide", "--no-headers"],
        expect![[r#"
        cronjobs cj batch/v1 true CronJob create,delete,deletecollection,get,list,patch,update,watch all
        jobs batch/v1 true Job create,delete,deletecollection,get,list,patch,update,watch all
    "#]],
    );
    k.check(
        &["api-resources", "--namespaced=false", "--verbs=list", "-o", "name", "--sort-by=name"],
        expect![[r#"
        apiservices.apiregistration.k8s.io
        certificatesigningrequests.certificates.k8s.io
        clusterrolebindings.rbac.authorization.k8s.io
        clusterroles.rbac.authorization.k8s.io
        componentstatuses
        csidrivers.storage.k8s.io
        csinodes.storage.k8s.io
        customresourcedefinitions.apiextensions.k8s.io
        deviceclasses.resource.k8s.io
        flowschemas.flowcontrol.apiserver.k8s.io
        ingressclasses.networking.k8s.io
        ipaddresses.networking.k8s.io
        mutatingadmissionpolicies.admissionregistration.k8s.io
        mutatingadmissionpolicybindings.admissionregistration.k8s.io
        mutatingwebhookconfigurations.admissionregistration.k8s.io
        namespaces
        nodes
        persistentvolumes
        priorityclasses.scheduling.k8s.io
        prioritylevelconfigurations.flowcontrol.apiserver.k8s.io
        resourceslices.resource.k8s.io
        runtimeclasses.node.k8s.io
        servicecidrs.networking.k8s.io
        storageclasses.storage.k8s.io
        validatingadmissionpolicies.admissionregistration.k8s.io
        validatingadmissionpolicybindings.admissionregistration.k8s.io
        validatingwebhookconfigurations.admissionregistration.k8s.io
        volumeattachments.storage.k8s.io
        volumeattributesclasses.storage.k8s.io
    "#]],
    );
}

/// What each field is for is said by Kubernetes' own texts, of which none stands here: every field has one.
fn explain(k: &Kubectl) {
    let text = k.run(&["explain", "deployment.spec.strategy"]);
    for part in [
        "GROUP:      apps\nKIND:       Deployment\nVERSION:    v1\n\nFIELD: strategy <DeploymentStrategy>\n",
        "DESCRIPTION:\n    The deployment strategy",
        "  rollingUpdate\t<RollingUpdateDeployment>\n    Rolling update config params.",
        "  type\t<string>\n  enum: Recreate, RollingUpdate\n    Type of deployment.",
        "    Possible enum values:\n     - `\"Recreate\"`\n     - `\"RollingUpdate\"`\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let text = k.run(&["explain", "hpa.spec", "--api-version=autoscaling/v1"]);
    assert!(text.contains("  maxReplicas\t<integer> -required-\n    maxReplicas is the upper limit"), "{text}");
    for kind in ["pod", "pod.spec.containers", "pod.metadata", "service.spec", "crd.spec.versions", "node.status"] {
        let text = k.run(&["explain", kind]);
        assert!(!text.contains("<no description>") && !text.contains("<empty>"), "{text}");
    }
    expect![[r#"
        KIND:       Pod
        VERSION:    v1

        error: field "nothing" does not exist
    "#]]
    .assert_eq(&k.fail(&["explain", "pod.spec.nothing"]));
    // Every field of it, however deep.
    let all = k.run(&["explain", "deployment", "--recursive"]);
    assert!(all.lines().count() > 1000, "{}", all.lines().count());
}

fn raw(k: &Kubectl) {
    assert_eq!(value(k, &["get", "--raw", "/healthz"]), "ok");
    let ready = k.run(&["get", "--raw", "/readyz?verbose"]);
    for line in ["[+]ping ok", "[+]etcd ok", "[+]poststarthook/rbac/bootstrap-roles ok", "readyz check passed"] {
        assert!(ready.lines().any(|l| l.trim() == line), "{line} in {ready}");
    }
    assert!(!ready.contains("[-]"), "{ready}");
    let version = k.run(&["get", "--raw", "/version"]);
    assert!(version.contains("\"gitVersion\":\"v1.36."), "{version}");
    expect![[r#"
        Error from server (NotFound): the server could not find the requested resource
    "#]]
    .assert_eq(&k.fail(&["get", "--raw", "/nothing"]));
    let made = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"raw"}}"#;
    let path = "/api/v1/namespaces/default/configmaps";
    assert!(k.feed(&["create", "--raw", path, "-f", "-"], made).contains("\"name\":\"raw\""));
    let gone = k.run(&["delete", "--raw", &format!("{path}/raw")]);
    assert!(gone.contains("\"status\":\"Success\""), "{gone}");
    assert!(k.run(&["get", "--raw", "/metrics"]).contains("# TYPE "));
}

fn rights(k: &Kubectl) {
    k.check(
        &["auth", "can-i", "--list", "--as=nobody", "--no-headers"],
        expect![[r#"
        selfsubjectreviews.authentication.k8s.io [] [] [create]
        selfsubjectaccessreviews.authorization.k8s.io [] [] [create]
        selfsubjectrulesreviews.authorization.k8s.io [] [] [create]
        [/api/*] [] [get]
        [/api] [] [get]
        [/apis/*] [] [get]
        [/apis] [] [get]
        [/healthz] [] [get]
        [/healthz] [] [get]
        [/livez] [] [get]
        [/livez] [] [get]
        [/openapi/*] [] [get]
        [/openapi] [] [get]
        [/readyz] [] [get]
        [/readyz] [] [get]
        [/version/] [] [get]
        [/version/] [] [get]
        [/version] [] [get]
        [/version] [] [get]
    "#]],
    );
    k.run(&["create", "role", "reader", "--verb=get,list", "--resource=pods,pods/log,deployments.apps"]);
    k.run(&["create", "rolebinding", "reader", "--role=reader", "--user=bob"]);
    let can = |args: &[&str]| text(&k.output(&[&["auth", "can-i"], args, &["--as=bob"]].concat()));
    crate::common::eventually("the rights are known", || (can(&["get", "pods"]) == "yes\n").then_some(()));
    let asked = [
        &["get", "pods", "--subresource=log"][..],
        &["get", "pods", "--subresource=exec"],
        &["list", "deployments.apps"],
        &["list", "deployments.apps", "-A"],
        &["delete", "pod/x"],
        &["get", "/healthz"],
        &["get", "/metrics"],
    ];
    let answers: String = asked.iter().map(|args| format!("{}: {}", args.join(" "), can(args))).collect();
    expect![[r#"
        get pods --subresource=log: yes
        get pods --subresource=exec: no
        list deployments.apps: yes
        list deployments.apps -A: no
        delete pod/x: no
        get /healthz: yes
        get /metrics: no
    "#]]
    .assert_eq(&answers);
    let role = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [watch]}]
";
    expect![[r#"
        role.rbac.authorization.k8s.io/reader reconciled
        	reconciliation required update
        	missing rules added:
        		{Verbs:[watch] APIGroups:[] Resources:[configmaps] ResourceNames:[] NonResourceURLs:[]}
    "#]]
    .assert_eq(&k.feed(&["auth", "reconcile", "-f", "-"], role));
    k.check(
        &["describe", "role", "reader"],
        expect![[r#"
        Name: reader
        Labels: <none>
        Annotations: <none>
        PolicyRule:
        Resources Non-Resource URLs Resource Names Verbs
        --------- ----------------- -------------- -----
        pods/log [] [] [get list]
        pods [] [] [get list]
        deployments.apps [] [] [get list]
        configmaps [] [] [watch]
    "#]],
    );
    // Nobody gives what he does not have.
    let more = "---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: all}, rules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]}\n";
    k.run(&["create", "clusterrole", "roles", "--verb=create,get", "--resource=clusterroles"]);
    k.run(&["create", "clusterrolebinding", "roles", "--clusterrole=roles", "--user=bob"]);
    let refusal = crate::common::eventually("bob may write roles, but not this", || {
        let said = refused(k, &["create", "-f", "-", "--as=bob"], more);
        said.contains("attempting to grant").then_some(said)
    });
    expect![[r#"
        Error from server (Forbidden): error when creating "STDIN": clusterroles.rbac.authorization.k8s.io "all" is forbidden: user "bob" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:
        {APIGroups:["*"], Resources:["*"], Verbs:["*"]}
    "#]].assert_eq(&refusal);
}

fn certificates(k: &Kubectl) {
    let request = pki::CertificateRequest::new("carl", Some("devs"), &[]).expect("a request");
    let pem = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &request.request_pem);
    for (name, usage) in [("carl", "client auth"), ("denied", "client auth"), ("strange", "server auth")] {
        let body = format!(
            "---\n{{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {{name: {name}}}, spec: {{request: {pem}, signerName: kubernetes.io/kube-apiserver-client, usages: [{usage}]}}}}\n"
        );
        k.feed(&["create", "-f", "-"], &body);
    }
    k.check(
        &["certificate", "approve", "carl", "strange"],
        expect![[r#"
        certificatesigningrequest.certificates.k8s.io/carl approved
        certificatesigningrequest.certificates.k8s.io/strange approved
    "#]],
    );
    k.run(&["wait", "--for=jsonpath={.status.certificate}", "csr/carl", "--timeout=60s"]);
    k.check(
        &["certificate", "deny", "denied"],
        expect![[r#"
        certificatesigningrequest.certificates.k8s.io/denied denied
    "#]],
    );
    expect![[r#"
        error: certificate signing request "carl" is already Approved
    "#]]
    .assert_eq(&k.fail(&["certificate", "deny", "carl"]));
    k.run(&["wait", "--for=condition=Failed", "csr/strange", "--timeout=60s"]);
    k.check(
        &["get", "csr"],
        expect![[r#"
        NAME AGE SIGNERNAME REQUESTOR REQUESTEDDURATION CONDITION
        carl AGE kubernetes.io/kube-apiserver-client ferry-admin <none> Approved,Issued
        denied AGE kubernetes.io/kube-apiserver-client ferry-admin <none> Denied
        strange AGE kubernetes.io/kube-apiserver-client ferry-admin <none> Approved,Failed
    "#]],
    );
    // And the certificate opens the door.
    let issued = value(k, &["get", "csr", "carl", "-o", "jsonpath={.status.certificate}"]);
    let issued = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, issued).expect("base64");
    let (cert, key) = (k.home.join("carl.crt"), k.home.join("carl.key"));
    fs::write(&cert, issued).expect("written");
    fs::write(&key, &request.key_pem).expect("written");
    let config = k.home.join("carl-config");
    fs::write(&config, "").expect("an empty kubeconfig");
    let mut whoami = Command::new("kubectl");
    whoami.args(["auth", "whoami", "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups}"]);
    whoami.env("HOME", &k.home).env("KUBECONFIG", &config).arg("--client-certificate").arg(cert);
    whoami.arg("--client-key").arg(key).arg("--certificate-authority").arg(k.data.join("pki/ca.crt"));
    let said = whoami.args(["--server", &format!("https://127.0.0.1:{}", k.port)]).output().expect("kubectl runs");
    let said = text(&said);
    let said = said.trim_end();
    assert_eq!(said, r#"carl ["devs","system:authenticated"]"#);
}

fn pages(k: &Kubectl) {
    for i in 0..5 {
        k.run(&["create", "configmap", &format!("page-{i}")]);
    }
    k.run(&["label", "configmap", "page-1", "page-3", "odd=yes"]);
    let out = k.run(&["get", "configmaps", "--chunk-size=2", "-l", "!odd", "-o", "name", "-v=8"]);
    let pages = out.lines().filter(|l| l.contains("GET https://") && l.contains("limit=2")).count();
    assert!(pages >= 2, "{pages} requests: {out}");
    let names: Vec<&str> = out.lines().filter(|l| l.starts_with("configmap/page")).collect();
    assert_eq!(names, ["configmap/page-0", "configmap/page-2", "configmap/page-4"]);
    k.check(
        &["get", "configmaps", "-l", "odd in (yes),odd notin (no)", "-L", "odd", "--no-headers"],
        expect![[r#"
        page-1 0 AGE yes
        page-3 0 AGE yes
    "#]],
    );
    // A selector stands in the head of the request, however long it is.
    let values: Vec<String> = (0..4000).map(|i| format!("v{i}")).collect();
    let long = format!("odd in (yes,{})", values.join(","));
    assert_eq!(k.run(&["get", "configmaps", "-l", &long, "-o", "name"]), "configmap/page-1\nconfigmap/page-3\n");
    k.check(
        &["delete", "configmaps", "-l", "odd"],
        expect![[r#"
        configmap "page-1" deleted
        configmap "page-3" deleted
    "#]],
    );
    k.check(
        &["get", "configmaps", "--field-selector", "metadata.name=page-4", "-o", "name"],
        expect![[r#"
        configmap/page-4
    "#]],
    );
}
