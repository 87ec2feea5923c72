use super::*;
use crate::testing::{self, cells, create, created, defaults, update, update_of};
use expect_test::expect;
use value::value;

fn job() -> Value {
    value!({"metadata": {"uid": "u1"}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "x:1"}]}}}})
}
fn with(path: &[&str], value: impl Into<Value>) -> Value {
    let mut obj = job();
    obj.set(path, value);
    obj
}
/// With these members in the spec.
fn spec(more: Value) -> Value {
    let mut obj = job();
    for (key, value) in more.members_at(&[]) {
        obj.set(&["spec", key], value);
    }
    obj
}
/// As it stands after its creation.
fn stored(more: Value) -> Value {
    created(&kind(), spec(more))
}

#[test]
fn defaulting() {
    for (obj, want) in [
        (
            value!({"spec": {}}),
            expect![[
                r#"{"backoffLimit":6,"completionMode":"NonIndexed","completions":1,"manualSelector":false,"parallelism":1,"podReplacementPolicy":"TerminatingOrFailed","suspend":false,"template":{"metadata":{},"spec":{"containers":null,"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}}"#
            ]],
        ),
        (
            value!({"spec": {"completions": 3}}),
            expect![[
                r#"{"backoffLimit":6,"completionMode":"NonIndexed","completions":3,"manualSelector":false,"parallelism":1,"podReplacementPolicy":"TerminatingOrFailed","suspend":false,"template":{"metadata":{},"spec":{"containers":null,"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}}"#
            ]],
        ),
        (
            value!({"spec": {"parallelism": 3, "backoffLimitPerIndex": 1, "podFailurePolicy": {"rules": []}}}),
            expect![[
                r#"{"backoffLimit":2147483647,"backoffLimitPerIndex":1,"completionMode":"NonIndexed","manualSelector":false,"parallelism":3,"podFailurePolicy":{"rules":[]},"podReplacementPolicy":"Failed","suspend":false,"template":{"metadata":{},"spec":{"containers":null,"dnsPolicy":"ClusterFirst","restartPolicy":"Always","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}}"#
            ]],
        ),
    ] {
        defaults(&kind(), obj, &["spec"], want);
    }
    defaults(
        &kind(),
        with(&["spec", "template", "metadata", "labels"], value!({"a": "b"})),
        &["metadata"],
        expect![[r#"{"labels":{"a":"b"},"uid":"u1"}"#]],
    );
}

#[test]
fn the_server_makes_the_selector() {
    let made = created(&kind(), with(&["spec", "template", "metadata", "labels"], value!({"a": "b"})));
    expect![[r#"{"matchLabels":{"batch.kubernetes.io/controller-uid":"u1"}}"#]]
        .assert_eq(&made.at(&["spec", "selector"]).to_string());
    expect![[r#"{"labels":{"a":"b","batch.kubernetes.io/controller-uid":"u1","batch.kubernetes.io/job-name":"obj","controller-uid":"u1","job-name":"obj"}}"#]].assert_eq(&made.at(&["spec", "template", "metadata"]).to_string());
    assert_eq!(made.at(&["metadata", "labels"]), made.at(&["spec", "template", "metadata", "labels"]));
    let own = created(&kind(), spec(value!({"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}})));
    expect![[r#"{"matchLabels":{"a":"b"}}"#]].assert_eq(&own.at(&["spec", "selector"]).to_string());
}

#[test]
fn validation() {
    create(&kind(), job(), expect![]);
    for (obj, want) in [
        (
            value!({"metadata": {"uid": "u"}, "spec": {}}),
            expect![[r#"
            spec.template.spec.containers: Required value
            spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#]],
        ),
        (
            spec(value!({"manualSelector": true})),
            expect![[r#"
            spec.selector: Required value
            spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`"#]],
        ),
        (
            with(&["spec", "selector", "matchLabels"], value!({"batch.kubernetes.io/controller-uid": "other"})),
            expect![[r#"
                spec.selector: Invalid value: {"matchLabels":{"batch.kubernetes.io/controller-uid":"other"}}: `selector` not auto-generated
                spec.template.metadata.labels: Invalid value: {"batch.kubernetes.io/controller-uid":"u1","batch.kubernetes.io/job-name":"obj","controller-uid":"u1","job-name":"obj"}: `selector` does not match template `labels`"#]],
        ),
        (
            with(&["spec", "template", "metadata", "labels"], value!({"job-name": "other"})),
            expect![[
                r#"spec.template.metadata.labels[job-name]: Invalid value: {"batch.kubernetes.io/controller-uid":"u1","batch.kubernetes.io/job-name":"obj","controller-uid":"u1","job-name":"other"}: must be 'obj'"#
            ]],
        ),
        (
            spec(value!({"parallelism": -1, "completions": -1, "activeDeadlineSeconds": -1, "backoffLimit": -1,
                "ttlSecondsAfterFinished": -1})),
            expect![[r#"
                spec.parallelism: Invalid value: -1: must be greater than or equal to 0
                spec.completions: Invalid value: -1: must be greater than or equal to 0
                spec.activeDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0
                spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0
                spec.ttlSecondsAfterFinished: Invalid value: -1: must be greater than or equal to 0"#]],
        ),
        (
            spec(value!({"maxFailedIndexes": 1})),
            expect![[r#"
            spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified
            spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode"#]],
        ),
        (
            spec(value!({"managedBy": "nobody"})),
            expect![[
                r#"spec.managedBy: Invalid value: "nobody": must be a domain-prefixed path (such as "acme.io/foo")"#
            ]],
        ),
        (
            spec(value!({"completionMode": "Some"})),
            expect![[r#"spec.completionMode: Unsupported value: "Some": supported values: "NonIndexed", "Indexed""#]],
        ),
        (
            spec(value!({"completionMode": "Indexed", "parallelism": 100_001})),
            expect![[r#"
            spec.completions: Required value: when completion mode is Indexed
            spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed"#]],
        ),
        (
            spec(
                value!({"completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": 1, "maxFailedIndexes": 3}),
            ),
            expect!["spec.maxFailedIndexes: Invalid value: 3: must be less than or equal to completions"],
        ),
        (
            spec(
                value!({"completionMode": "Indexed", "completions": 100_001, "parallelism": 10_001, "backoffLimitPerIndex": 1}),
            ),
            expect![[r#"
                spec.maxFailedIndexes: Required value: must be specified when completions is above 100000
                spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index"#]],
        ),
        (
            spec(value!({"podReplacementPolicy": "Soon"})),
            expect![[
                r#"spec.podReplacementPolicy: Unsupported value: "Soon": supported values: "Failed", "TerminatingOrFailed""#
            ]],
        ),
        (
            with(&["spec", "template", "spec", "restartPolicy"], "Always"),
            expect![[r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#]],
        ),
        (
            with(&["spec", "template", "spec", "restartPolicy"], "Sometimes"),
            expect![[r#"
            spec.template.spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"
            spec.template.spec.restartPolicy: Unsupported value: "Sometimes": supported values: "OnFailure", "Never""#]],
        ),
    ] {
        create(&kind(), obj, want);
    }
}

#[test]
fn policies() {
    let rule = |rule: Value| spec(value!({"podFailurePolicy": {"rules": [rule]}}));
    for (obj, want) in [
        (rule(value!({"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1, 2]}})), expect![]),
        (
            rule(value!({})),
            expect![[r#"
            spec.podFailurePolicy.rules[0].action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]
            spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"#]],
        ),
        (
            rule(value!({"action": "FailIndex", "onPodConditions": [{"type": "x y", "status": "Maybe"}]})),
            expect![[r#"
            spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set
            spec.podFailurePolicy.rules[0].onPodConditions[0].type: Invalid value: "x y": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.podFailurePolicy.rules[0].onPodConditions[0].status: Unsupported value: "Maybe": supported values: "False", "True", "Unknown""#]],
        ),
        (
            rule(
                value!({"action": "Stop", "onExitCodes": {"operator": "In", "containerName": "d", "values": [2, 1, 0, 1]},
                "onPodConditions": [{"type": "Ready"}]}),
            ),
            expect![[r#"
                spec.podFailurePolicy.rules[0].action: Unsupported value: "Stop": supported values: "Count", "FailIndex", "FailJob", "Ignore"
                spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "d": must be one of the container or initContainer names in the pod template
                spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Invalid value: 0: must not be 0 for the In operator
                spec.podFailurePolicy.rules[0].onExitCodes.values[3]: Duplicate value: 1
                spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,1,0,1]: must be ordered
                spec.podFailurePolicy.rules[0]: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"#]],
        ),
        (
            rule(value!({"action": "Ignore", "onExitCodes": {"values": []}})),
            expect![[r#"
            spec.podFailurePolicy.rules[0].onExitCodes.operator: Required value: valid values: ["In" "NotIn"]
            spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: []: at least one value is required"#]],
        ),
        (
            spec(value!({"podFailurePolicy": {"rules": []}, "podReplacementPolicy": "TerminatingOrFailed"})),
            expect![[
                r#"spec.podReplacementPolicy: Unsupported value: "TerminatingOrFailed": supported values: "Failed""#
            ]],
        ),
        (
            spec(value!({"successPolicy": {"rules": []}})),
            expect![[r#"spec.successPolicy: Invalid value: {"rules":[]}: requires indexed completion mode"#]],
        ),
        (
            spec(value!({"completionMode": "Indexed", "completions": 3, "successPolicy": {"rules": []}})),
            expect![
                "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified"
            ],
        ),
        (
            spec(value!({"completionMode": "Indexed", "completions": 3, "successPolicy": {"rules": [
                {}, {"succeededIndexes": "0-5"}, {"succeededIndexes": "0,1", "succeededCount": 4}]}})),
            expect![[r#"
                spec.successPolicy.rules[0]: Required value: at least one of succeededCount or succeededIndexes must be specified
                spec.successPolicy.rules[1].succeededIndexes: Invalid value: "0-5": error parsing succeededIndexes: too large index: "5"
                spec.successPolicy.rules[2].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of specified completions)
                spec.successPolicy.rules[2].succeededCount: Invalid value: 4: must be less than or equal to 2 (the number of indexes in the specified succeededIndexes field)"#]],
        ),
    ] {
        create(&kind(), obj, want);
    }
    let mut restarts = rule(value!({"action": "Count", "onPodConditions": [{"type": "Ready"}]}));
    restarts.set(&["spec", "template", "spec", "restartPolicy"], "OnFailure");
    create(
        &kind(),
        restarts,
        expect![[
            r#"spec.template.spec.restartPolicy: Invalid value: "OnFailure": only "Never" is supported when podFailurePolicy is specified"#
        ]],
    );
    let mut long = spec(value!({"completionMode": "Indexed", "completions": 11}));
    long.set(&["metadata", "name"], "a".repeat(61));
    create(
        &kind(),
        long,
        expect![[
            r#"metadata.name: Invalid value: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": will not able to create pod with invalid DNS label: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-10"#
        ]],
    );
}

#[test]
fn what_may_change() {
    let change = |old: &Value, path: &[&str], value: Value| {
        let mut new = old.clone();
        new.set(path, value);
        new
    };
    let old = stored(value!({}));
    for (path, value, want) in [
        (["spec", "parallelism"].as_slice(), value!(5), expect![]),
        (&["spec", "completions"], value!(5), expect!["spec.completions: Invalid value: 5: field is immutable"]),
        (
            &["spec", "completionMode"],
            value!("Indexed"),
            expect![[r#"spec.completionMode: Invalid value: "Indexed": field is immutable"#]],
        ),
        (
            &["spec", "managedBy"],
            value!("example.com/x"),
            expect![[r#"spec.managedBy: Invalid value: "example.com/x": field is immutable"#]],
        ),
        (
            &["spec", "template", "spec", "nodeSelector"],
            value!({"disk": "ssd"}),
            expect![[
                r#"spec.template: Invalid value: {"metadata":{"labels":{"batch.kubernetes.io/controller-uid":"u1","batch.kubernetes.io/job-name":"obj","controller-uid":"u1","job-name":"obj"}},"spec":{"containers":[{"image":"x:1","imagePullPolicy":"IfNotPresent","name":"c","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","nodeSelector":{"disk":"ssd"},"restartPolicy":"Never","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}}: field is immutable"#
            ]],
        ),
    ] {
        update(&kind(), old.clone(), change(&old, path, value), want);
    }
    let indexed = stored(value!({"completionMode": "Indexed", "completions": 2, "parallelism": 2}));
    update(
        &kind(),
        indexed.clone(),
        change(&indexed, &["spec", "completions"], value!(3)),
        expect!["spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"],
    );
    let suspended = stored(value!({"suspend": true}));
    for (path, value, want) in [
        (["spec", "template", "spec", "nodeSelector"].as_slice(), value!({"disk": "ssd"}), expect![]),
        (&["spec", "template", "spec", "affinity"], value!({"nodeAffinity": {}}), expect![]),
        (
            &["spec", "template", "spec", "affinity"],
            value!({"podAffinity": {}}),
            expect![[
                r#"spec.template.spec: Invalid value: {"affinity":{"podAffinity":{}},"containers":[{"image":"x:1","imagePullPolicy":"IfNotPresent","name":"c","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","restartPolicy":"Never","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}: field is immutable"#
            ]],
        ),
        (
            &["spec", "template", "spec", "containers"],
            value!([{"name": "c", "image": "x:1", "resources": {"limits": {"cpu": "1"}}}]),
            expect![],
        ),
        (
            &["spec", "template", "spec", "priorityClassName"],
            value!("high"),
            expect![[
                r#"spec.template.spec: Invalid value: {"containers":[{"image":"x:1","imagePullPolicy":"IfNotPresent","name":"c","resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}],"dnsPolicy":"ClusterFirst","priorityClassName":"high","restartPolicy":"Never","schedulerName":"default-scheduler","securityContext":{},"terminationGracePeriodSeconds":30}: field is immutable"#
            ]],
        ),
    ] {
        update(&kind(), suspended.clone(), change(&suspended, path, value), want);
    }
}

/// Checks a change from one status to another.
#[track_caller]
fn status(more: Value, old: Value, new: Value, want: expect_test::Expect) {
    let (mut before, mut after) = (stored(more.clone()), stored(more));
    before.set(&["status"], old);
    after.set(&["status"], new);
    update_of(&kind(), Some("status"), before, after, want);
}

fn conditions(types: &[&str]) -> Value {
    types.iter().map(|ty| value!({"type": *ty, "status": "True"})).collect()
}

fn done(types: &[&str]) -> Value {
    let mut status = value!({"startTime": "2026-01-02T03:00:00Z"});
    status.set(&["conditions"], conditions(types));
    status
}

#[test]
fn states_that_follow() {
    let mut complete = done(&["SuccessCriteriaMet", "Complete"]);
    complete.set(&["completionTime"], "2026-01-02T03:01:00Z");
    status(value!({}), value!({}), complete.clone(), expect![]);
    status(value!({}), value!({}), done(&["FailureTarget", "Failed"]), expect![]);
    let mut early = complete;
    early.set(&["completionTime"], "2026-01-02T02:01:00Z");
    for (old, new, want) in [
        (
            value!({}),
            value!({"active": -1, "ready": 1, "uncountedTerminatedPods": {"succeeded": ["a", ""], "failed": ["a"]}}),
            expect![[r#"
                status.active: Invalid value: -1: must be greater than or equal to 0
                status.uncountedTerminatedPods.succeeded[1]: Invalid value: "": must not be empty
                status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"
                status.ready: Invalid value: 1: cannot set more ready pods than active"#]],
        ),
        (
            value!({}),
            done(&["Complete"]),
            expect![[r#"
            status.completionTime: Required value: completionTime is required for Complete jobs
            status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition"#]],
        ),
        (
            value!({}),
            done(&["Failed"]),
            expect![
                "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition"
            ],
        ),
        (
            value!({}),
            value!({"conditions": [{"type": "Complete", "status": "True"}, {"type": "Failed", "status": "True"}],
            "active": 1, "terminating": 1}),
            expect![[r#"
                status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions
                status.completionTime: Required value: completionTime is required for Complete jobs
                status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition
                status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition
                status.active: Invalid value: 1: active>0 is invalid for finished job
                status.startTime: Required value: startTime is required for finished job
                status.terminating: Invalid value: 1: terminating>0 is invalid for finished job"#]],
        ),
        (
            value!({}),
            value!({"completionTime": "2026-01-02T03:01:00Z"}),
            expect![[
                r#"status.completionTime: Invalid value: "2026-01-02T03:01:00Z": cannot set completionTime when there is no Complete=True condition"#
            ]],
        ),
        (
            value!({}),
            early,
            expect![[
                r#"status.completionTime: Invalid value: "2026-01-02T02:01:00Z": must be equal to or after `startTime`"#
            ]],
        ),
    ] {
        status(value!({}), old, new, want);
    }
}

#[test]
fn what_is_not_taken_back() {
    let mut complete = done(&["SuccessCriteriaMet", "Complete"]);
    complete.set(&["completionTime"], "2026-01-02T03:01:00Z");
    for (old, new, want) in [
        (
            complete,
            value!({}),
            expect![[r#"
            status.conditions: Invalid value: cannot disable the terminal Complete=True condition
            status.startTime: Invalid value: "": field is immutable for unsuspended job once set
            status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition"#]],
        ),
        (
            value!({"succeeded": 2, "failed": 2}),
            value!({"succeeded": 1, "failed": 1}),
            expect![[r#"
            status.failed: Invalid value: 1: cannot decrease the failed counter
            status.succeeded: Invalid value: 1: cannot decrease the succeeded counter"#]],
        ),
        (
            value!({"startTime": "2026-01-02T03:00:00Z"}),
            value!({"startTime": "2026-01-02T03:00:01Z"}),
            expect![[
                r#"status.startTime: Invalid value: "2026-01-02T03:00:01Z": field is immutable for unsuspended job once set"#
            ]],
        ),
        (
            value!({}),
            value!({"completedIndexes": "0", "failedIndexes": "1"}),
            expect![[r#"
            status.completedIndexes: Invalid value: "0": cannot set non-empty completedIndexes when non-indexed completion mode
            status.failedIndexes: Invalid value: "1": cannot set non-null failedIndexes when backoffLimitPerIndex is null"#]],
        ),
        (
            value!({}),
            done(&["SuccessCriteriaMet", "FailureTarget"]),
            expect![
                "status.conditions: Invalid value: cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"
            ],
        ),
    ] {
        status(value!({}), old, new, want);
    }
    let indexed = value!({"completionMode": "Indexed", "completions": 5, "backoffLimitPerIndex": 1});
    status(indexed.clone(), value!({}), value!({"completedIndexes": "0-2", "failedIndexes": "3"}), expect![]);
    status(
        indexed,
        value!({}),
        value!({"completedIndexes": "0-9", "failedIndexes": "x,0"}),
        expect![[r#"
        status.completedIndexes: Invalid value: "0-9": error parsing completedIndexes: too large index: "9"
        status.failedIndexes: Invalid value: "x,0": error parsing failedIndexes: cannot convert string to integer for index: "x""#]],
    );
}

#[test]
fn warnings() {
    let mut obj = spec(value!({"completionMode": "Indexed", "completions": 100_001, "parallelism": 10_001}));
    obj.set(&["metadata", "name"], "a.b");
    testing::warnings(
        &kind(),
        obj,
        expect![[r#"
        metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]
        spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"#]],
    );
}

#[test]
fn columns() {
    let mut obj = stored(value!({"completions": 3}));
    obj.set(&["status"], value!({"succeeded": 1, "startTime": "2026-01-02T03:09:00Z"}));
    cells(
        &kind(),
        obj.clone(),
        expect!["obj | Running | 1/3 | 60s | 5m || c | x:1 | batch.kubernetes.io/controller-uid=u1"],
    );
    obj.set(&["status", "conditions"], conditions(&["Complete"]));
    obj.set(&["status", "completionTime"], "2026-01-02T03:09:30Z");
    cells(&kind(), obj, expect!["obj | Complete | 1/3 | 30s | 5m || c | x:1 | batch.kubernetes.io/controller-uid=u1"]);
    cells(
        &kind(),
        value!({"spec": {"parallelism": 2}, "status": {"conditions": [{"type": "Suspended", "status": "True"}]}}),
        expect!["obj | Suspended | 0/1 of 2 |  | 5m ||  |  | <none>"],
    );
}
