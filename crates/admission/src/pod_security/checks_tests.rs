//! Tables of what levels say of pods.

use super::{
    checks::{Subject, evaluate},
    details,
    policy::{LATEST, Level, Mode, Version},
};
use value::{Value, value};

#[track_caller]
fn check(level: Level, version: Version, spec: Value, want: &str) {
    let mut pod = value!({"metadata": {"name": "p"}});
    pod.set(&["spec"], spec);
    assert_eq!(details(&evaluate(Mode { level, version }, &Subject::of(&pod))), want, "{pod}");
}

/// A pod of one container with this security context.
fn with(context: Value) -> Value {
    value!({"containers": [{"name": "c", "securityContext": context}]})
}

#[test]
fn baseline() {
    for (spec, want) in [
        (value!({"containers": [{"name": "c"}]}), ""),
        (
            with(value!({"privileged": true})),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            with(value!({"capabilities": {"add": ["NET_ADMIN", "CHOWN", "BPF"]}})),
            "non-default capabilities (container \"c\" must not include \"BPF\", \"NET_ADMIN\" in securityContext.capabilities.add)",
        ),
        (
            value!({"volumes": [{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "hostPath": {"path": "/"}}], "containers": []}),
            "hostPath volumes (volumes \"a\", \"b\")",
        ),
        (
            value!({"containers": [{"name": "a", "ports": [{"hostPort": 80}]}, {"name": "b", "ports": [{"hostPort": 443}]}]}),
            "hostPort (containers \"a\", \"b\" use hostPorts 443, 80)",
        ),
        (
            value!({"containers": [{"name": "a", "livenessProbe": {"httpGet": {"host": "h"}}}]}),
            "probe or lifecycle host (container \"a\" uses probe or lifecycle host \"h\")",
        ),
        (
            with(value!({"procMount": "Unmasked"})),
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            with(value!({"seLinuxOptions": {"type": "spc_t", "user": "u"}})),
            "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set)",
        ),
        (
            value!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}, "containers": [{"name": "c", "securityContext": {"seccompProfile": {"type": "Unconfined"}}}]}),
            "seccompProfile (pod and container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            value!({"securityContext": {"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}, "containers": []}),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            with(value!({"appArmorProfile": {"type": "Unconfined"}})),
            "forbidden AppArmor profile (container \"c\" must not set AppArmor profile type to \"Unconfined\")",
        ),
        (
            with(value!({"windowsOptions": {"hostProcess": true}})),
            "hostProcess (container \"c\" must not set securityContext.windowsOptions.hostProcess=true)",
        ),
    ] {
        check(Level::Baseline, LATEST, spec.clone(), want);
        check(Level::Privileged, LATEST, spec, "");
    }
}

#[test]
fn restricted() {
    let sound = value!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
        "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    check(Level::Restricted, LATEST, with(sound.clone()), "");
    check(
        Level::Restricted,
        LATEST,
        value!({"containers": [{"name": "a"}, {"name": "b"}]}),
        "allowPrivilegeEscalation != false (containers \"a\", \"b\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (containers \"a\", \"b\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or containers \"a\", \"b\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or containers \"a\", \"b\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
    );
    let mut root = with(sound.clone());
    root.set(&["securityContext", "runAsUser"], 0);
    root.set(&["volumes"], value!([{"name": "v", "nfs": {}}, {"name": "w", "hostPath": {"path": "/"}}]));
    check(
        Level::Restricted,
        LATEST,
        root.clone(),
        "restricted volume types (volumes \"v\", \"w\" use restricted volume types \"hostPath\", \"nfs\"), runAsUser=0 (pod must not set runAsUser=0)",
    );
    // Root of its own user namespace is nobody outside.
    root.remove(&["volumes"]);
    root.set(&["hostUsers"], false);
    check(Level::Restricted, LATEST, root.clone(), "");
    check(Level::Restricted, Version(34), root, "runAsUser=0 (pod must not set runAsUser=0)");
}

#[test]
fn older_versions_ask_for_less() {
    let bare = value!({"containers": [{"name": "c"}]});
    check(
        Level::Restricted,
        Version(7),
        bare,
        "runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true)",
    );
    let engine = with(value!({"seLinuxOptions": {"type": "container_engine_t"}}));
    check(Level::Baseline, Version(31), engine.clone(), "");
    let old =
        "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: type \"container_engine_t\")";
    check(Level::Baseline, Version(30), engine, old);
    // A version that is still to come is the newest.
    check(Level::Baseline, Version(99), with(value!({"procMount": "Default"})), "");
}
