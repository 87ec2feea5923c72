//! StatefulSet: pods with names that last, each with volumes of its own.

use super::replicas;
use crate::{
    at::At,
    cells::{self, containers},
    core::claims,
    declare::declare,
    rules::{amount, same},
    template,
};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind, NameRule};
use value::{Value, value};

const MUTABLE: [&str; 7] = [
    "replicas",
    "template",
    "updateStrategy",
    "minReadySeconds",
    "ordinals",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
];
const IMMUTABLE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                         'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                         'minReadySeconds' are forbidden";

pub fn kind() -> Kind {
    declare("apps", "StatefulSet")
        .short(["sts"])
        .categories(["all"])
        .names(NameRule::Label)
        .version("v1", "io.k8s.api.apps.v1.StatefulSet", columns())
        .generation()
        .status()
        .scale()
        .hooks(StatefulSet)
        .build()
}

fn columns() -> Vec<Column> {
    let mut columns = vec![
        Column::object_name(),
        Column::text("Ready", |obj, _| cells::of(obj, &["status", "readyReplicas"], &["spec", "replicas"])),
        Column::age(),
    ];
    columns.extend(containers());
    columns
}

#[derive(Debug)]
struct StatefulSet;

impl Hooks for StatefulSet {
    fn default(&self, obj: &mut Value) {
        template::default_template_at(obj, &["spec", "template"]);
        // Upstream's conversion names what a template is of.
        for claim in obj.array_at_mut(&["spec", "volumeClaimTemplates"]).into_iter().flatten() {
            claim.set(&["apiVersion"], "v1");
            claim.set(&["kind"], "PersistentVolumeClaim");
        }
    }
    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        no_max_unavailable(obj);
        obj.set(&["status"], value!({"replicas": 0, "availableReplicas": 0}));
    }
    fn prepare_update(&self, _cx: &Context, obj: &mut Value, old: &Value) {
        if old.at(&["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"]).is_null() {
            no_max_unavailable(obj);
        }
    }
    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        if cx.subresource == Some("status") {
            return status(root.get("status"), old, errors);
        }
        spec(root.get("spec"), old, errors);
        if let Some(old) = old {
            let rest = |set: &Value| {
                let mut spec = set.at(&["spec"]).clone();
                for field in MUTABLE {
                    spec.remove(&[field]);
                }
                spec
            };
            if !same(&rest(obj), &rest(old)) {
                errors.forbidden("spec", IMMUTABLE);
            }
        }
    }
    fn warnings(&self, cx: &Context, obj: &Value, old: Option<&Value>) -> Vec<String> {
        if cx.subresource.is_some() {
            return Vec::new();
        }
        let root = At::root(obj);
        let spec = root.get("spec");
        let claims = spec.get("volumeClaimTemplates");
        let mut warnings = replicas::template_warnings(cx, obj, old, spec.get("template"));
        for claim in claims.items() {
            // Upstream's path of an update has a capital letter.
            let spec = claim.get("spec");
            let at = At { value: spec.value, path: claim.path.key(if old.is_some() { "Spec" } else { "spec" }) };
            claims::fractions(at, &mut warnings);
        }
        if spec.get("revisionHistoryLimit").int() < 0 {
            let text = "a negative value retains all historical revisions; a value >= 0 is recommended";
            warnings.push(format!("spec.revisionHistoryLimit: {text}"));
        }
        warnings
    }
}

/// The gate `MaxUnavailableStatefulSet` is off by default.
fn no_max_unavailable(obj: &mut Value) {
    obj.remove(&["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"]);
}

fn spec(spec: At, old: Option<&Value>, errors: &mut FieldErrors) {
    let management = spec.get("podManagementPolicy");
    if management.need(errors) && !["OrderedReady", "Parallel"].contains(&management.str()) {
        management.invalid(errors, "must be 'OrderedReady' or 'Parallel'");
    }
    strategy(spec.get("updateStrategy"), errors);
    let retention = spec.get("persistentVolumeClaimRetentionPolicy");
    if retention.is_set() {
        for when in ["whenDeleted", "whenScaled"] {
            retention.get(when).one_of_or_empty(errors, &["Retain", "Delete"]);
        }
    }
    let claims = spec.get("volumeClaimTemplates");
    if old.is_none() {
        for claim in claims.items() {
            claims::spec(claim.get("spec"), errors);
        }
    }
    spec.get("replicas").non_negative(errors);
    spec.get("minReadySeconds").non_negative(errors);
    let start = spec.get("ordinals");
    At { value: start.get("start").value, path: spec.path.key("ordinals.start") }.non_negative(errors);
    let service = spec.get("serviceName");
    if old.is_none() && !service.is_empty() {
        service.dns_label(errors);
    }
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    replicas::required_selector(selector, "statefulset", errors);
    replicas::matches(selector, template, errors);
    let pod = pod_template(spec.value);
    template::validate_template(At { value: &pod, path: template.path }, errors);
    replicas::runs_forever(template, "StatefulSet", errors);
}

/// The template as the controller completes it: names of its own, and volumes for the claims.
fn pod_template(spec: &Value) -> Value {
    let mut template = spec.at(&["template"]).clone();
    if template.at(&["spec"]).as_object().is_none() {
        return template;
    }
    template.remove(&["spec", "subdomain"]);
    template.remove(&["spec", "hostname"]);
    let names: Vec<&str> = spec.items_at(&["volumeClaimTemplates"]).iter().map(Value::name).collect();
    if !names.is_empty() {
        let claimed = names.iter().map(|n| value!({"name": *n, "persistentVolumeClaim": {"claimName": *n}}));
        let own = template.items_at(&["spec", "volumes"]).iter().filter(|v| !names.contains(&v.str_at(&["name"])));
        let volumes: Vec<Value> = claimed.chain(own.cloned()).collect();
        template.set(&["spec", "volumes"], volumes);
    }
    template
}

fn strategy(strategy: At, errors: &mut FieldErrors) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").str() {
        "" => strategy.required(errors, ""),
        "OnDelete" if rolling.is_set() => rolling.invalid(errors, "only allowed for updateStrategy 'RollingUpdate'"),
        "OnDelete" => {}
        "RollingUpdate" => {
            rolling.get("partition").non_negative(errors);
            let unavailable = rolling.get("maxUnavailable");
            if unavailable.is_set() {
                unavailable.int_or_percent(errors);
                if amount(unavailable.value) == 0 {
                    unavailable.invalid(errors, "cannot be 0");
                }
                if unavailable.str().ends_with('%') && amount(unavailable.value) > 100 {
                    unavailable.invalid(errors, "must not be greater than 100%");
                }
            }
        }
        _ => strategy.invalid(errors, "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

fn status(status: At, old: Option<&Value>, errors: &mut FieldErrors) {
    let parts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
    let counts = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    replicas::status(status, &counts, &parts, errors);
    replicas::available_are_ready(status, "status.readyReplicas", errors);
    replicas::collisions(status, old, errors);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, defaults, update, update_of, warnings};
    use expect_test::expect;

    fn set() -> Value {
        value!({"spec": {
            "serviceName": "db", "replicas": 2,
            "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [
                {"name": "db", "image": "x:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}],
        }})
    }
    fn with(path: &[&str], value: impl Into<Value>) -> Value {
        let mut obj = set();
        obj.set(path, value);
        obj
    }

    #[test]
    fn defaulting() {
        for (obj, path, want) in [
            (
                set(),
                ["spec", "updateStrategy"].as_slice(),
                expect![[r#"{"rollingUpdate":{"partition":0},"type":"RollingUpdate"}"#]],
            ),
            (
                with(&["spec", "updateStrategy", "type"], "RollingUpdate"),
                &["spec", "updateStrategy"],
                expect![[r#"{"type":"RollingUpdate"}"#]],
            ),
            (
                with(&["spec", "updateStrategy", "type"], "OnDelete"),
                &["spec", "updateStrategy"],
                expect![[r#"{"type":"OnDelete"}"#]],
            ),
            (
                set(),
                &["spec", "persistentVolumeClaimRetentionPolicy"],
                expect![[r#"{"whenDeleted":"Retain","whenScaled":"Retain"}"#]],
            ),
            (set(), &["spec", "podManagementPolicy"], expect![[r#""OrderedReady""#]]),
            (
                set(),
                &["spec", "volumeClaimTemplates"],
                expect![[
                    r#"[{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"data"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}},"volumeMode":"Filesystem"},"status":{"phase":"Pending"}}]"#
                ]],
            ),
        ] {
            defaults(&kind(), obj, path, want);
        }
    }

    #[test]
    fn validation() {
        create(&kind(), set(), expect![]);
        for (obj, want) in [
            (
                value!({"spec": {}}),
                expect![[r#"
                spec.selector: Required value
                spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`
                spec.template.spec.containers: Required value"#]],
            ),
            (
                with(&["spec", "selector"], value!({})),
                expect!["spec.selector: Invalid value: {}: empty selector is invalid for statefulset"],
            ),
            (
                with(&["spec", "selector", "matchLabels", "app"], "web"),
                expect![[
                    r#"spec.template.metadata.labels: Invalid value: {"app":"db"}: `selector` does not match template `labels`"#
                ]],
            ),
            (
                with(&["spec", "podManagementPolicy"], "Random"),
                expect![[r#"spec.podManagementPolicy: Invalid value: "Random": must be 'OrderedReady' or 'Parallel'"#]],
            ),
            (
                with(&["spec", "updateStrategy"], value!({"type": "Other"})),
                expect![[
                    r#"spec.updateStrategy: Invalid value: {"type":"Other"}: must be 'RollingUpdate' or 'OnDelete'"#
                ]],
            ),
            (
                with(&["spec", "updateStrategy"], value!({"type": "OnDelete", "rollingUpdate": {}})),
                expect![[
                    r#"spec.updateStrategy.rollingUpdate: Invalid value: {"partition":0}: only allowed for updateStrategy 'RollingUpdate'"#
                ]],
            ),
            (
                with(&["spec", "updateStrategy"], value!({"rollingUpdate": {"partition": -1}})),
                expect![
                    "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0"
                ],
            ),
            (
                with(&["spec", "persistentVolumeClaimRetentionPolicy"], value!({"whenDeleted": "Keep"})),
                expect![[
                    r#"spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "Keep": supported values: "Retain", "Delete""#
                ]],
            ),
            (
                with(&["spec", "ordinals"], value!({"start": -1})),
                expect!["spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                with(&["spec", "serviceName"], "a.b"),
                expect![[r#"spec.serviceName: Invalid value: "a.b": must not contain dots"#]],
            ),
            (
                with(&["spec", "template", "spec", "restartPolicy"], "Never"),
                expect![[
                    r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#
                ]],
            ),
            (
                with(&["spec", "volumeClaimTemplates"], value!([{"metadata": {"name": "data"}, "spec": {}}])),
                expect![[r#"
                spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required
                spec.volumeClaimTemplates[0].spec.resources[storage]: Required value"#]],
            ),
            (
                with(&["spec", "volumeClaimTemplates"], value!([])),
                expect![[r#"spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data""#]],
            ),
        ] {
            create(&kind(), obj, want);
        }
    }

    #[test]
    fn few_fields_change() {
        for (obj, want) in [
            (with(&["spec", "replicas"], 5), expect![]),
            (with(&["spec", "ordinals", "start"], 5), expect![]),
            (
                with(&["spec", "serviceName"], "other"),
                expect![
                    "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
                ],
            ),
            (
                with(&["spec", "volumeClaimTemplates"], value!([])),
                expect![[r#"
                spec.template.spec.containers[0].volumeMounts[0].name: Not found: "data"
                spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"#]],
            ),
        ] {
            update(&kind(), set(), obj, want);
        }
    }

    #[test]
    fn counts_fit_each_other() {
        update_of(
            &kind(),
            Some("status"),
            value!({"status": {"collisionCount": 1}}),
            value!({"status": {"replicas": 1, "readyReplicas": 2, "availableReplicas": 3, "currentReplicas": -1}}),
            expect![[r#"
                status.currentReplicas: Invalid value: -1: must be greater than or equal to 0
                status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas
                status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas
                status.availableReplicas: Invalid value: 3: cannot be greater than status.readyReplicas
                status.collisionCount: Invalid value: 0: cannot be decremented"#]],
        );
    }

    #[test]
    fn warnings_of_limits_and_claims() {
        warnings(
            &kind(),
            with(&["spec", "revisionHistoryLimit"], -1),
            expect![
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
            ],
        );
        let claim = value!([{"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1500m"}}}}]);
        warnings(
            &kind(),
            with(&["spec", "volumeClaimTemplates"], claim),
            expect![[
                r#"spec.volumeClaimTemplates[0].spec.resources.requests[storage]: fractional byte value "1500m" is invalid, must be an integer"#
            ]],
        );
    }

    #[test]
    fn columns() {
        cells(&kind(), with(&["status"], value!({"readyReplicas": 1})), expect!["obj | 1/2 | 5m || db | x:1"]);
    }
}
