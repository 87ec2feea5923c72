//! What managed fields cost: `cargo run --release -p merge --example managed [ROUNDS]`.
//!
//! Prints microseconds per call for a pod of about 4.5 KB: reading, decoding and writing it, which every creation does
//! anyway, beside the tracking of a creation and of a change of its status.

use merge::managed::{Known, Reach, Versions, Write, track_create, track_update};
use schema::Schema;
use std::{hint::black_box, time::Instant};
use value::Value;

struct Pods(Schema);

impl Versions for Pods {
    fn schema(&self, api_version: &str) -> Option<&Schema> {
        (api_version == "v1").then_some(&self.0)
    }
    fn convert(&self, object: &Value, _: &str) -> base::Result<Option<Value>> {
        Ok(Some(object.clone()))
    }
    fn custom(&self) -> bool {
        false
    }
}

fn pod() -> Vec<u8> {
    let env: Vec<String> = (0..40)
        .map(|i| format!(r#"{{"name":"SETTING_{i:02}","value":"some text that is a value of a setting {i:04}"}}"#))
        .collect();
    let container = |name: &str, env: &str| {
        format!(
            r#"{{"name":"{name}","image":"registry.k8s.io/pause:3.10","env":[{env}],
            "ports":[{{"containerPort":80}},{{"containerPort":443,"protocol":"TCP"}}],
            "resources":{{"limits":{{"cpu":"1","memory":"64Mi"}},"requests":{{"cpu":"100m","memory":"64Mi"}}}},
            "volumeMounts":[{{"name":"data","mountPath":"/data"}}]}}"#
        )
    };
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"web","namespace":"default","labels":{{"app":"web","tier":"front"}}}},
        "spec":{{"containers":[{},{}],"volumes":[{{"name":"data","emptyDir":{{}}}}],"nodeSelector":{{"a":"b"}}}}}}"#,
        container("web", &env.join(",")),
        container("log", "")
    )
    .into_bytes()
}

fn time<T>(what: &str, rounds: u32, mut run: impl FnMut() -> T) {
    for _ in 0..rounds / 10 {
        black_box(run());
    }
    let start = Instant::now();
    for _ in 0..rounds {
        black_box(run());
    }
    println!("{what:<44} {:8.2} us", start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds));
}

fn main() {
    let rounds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let schema = schema::builtin::of("", "v1", "Pod").expect("Pod");
    let versions = Pods(schema.clone());
    let body = pod();
    let read = || value::parse(&body).expect("a pod").value;
    let decoded = || {
        let mut pod = read();
        schema::decode(&schema, &mut pod).expect("a pod");
        schema::apply_defaults(&schema, &mut pod);
        pod
    };
    let pod = decoded();
    let reach = Reach { only: None, never: vec!["status".into()] };
    let write =
        Write { manager: "bench", api_version: "v1", subresource: "", time: "2026-01-02T03:04:05Z", reach: &reach };
    let list = track_create(&versions, &pod, &Value::Null, &write, None).expect("a list");
    println!("a pod of {} bytes, managed fields of {} bytes", body.len(), list.to_json().len());
    time("read", rounds, read);
    time("read, decode, defaults", rounds, decoded);
    time("write as JSON", rounds, || pod.to_json());
    time("track a creation", rounds, || track_create(&versions, &pod, &Value::Null, &write, None));
    let known = Known::default();
    time("track the same again", rounds, || track_create(&versions, &pod, &Value::Null, &write, Some(&known)));
    time("write its managed fields as JSON", rounds, || list.to_json());
    let json = list.to_json();
    time("read its managed fields", rounds, || value::parse(&json).expect("a list"));

    let all = Reach { only: Some(vec![vec!["status".into()]]), never: Vec::new() };
    let status = Write { manager: "kubelet", subresource: "status", reach: &all, ..write };
    let mut next = pod.clone();
    let condition =
        |kind: &str| value::value!({"type": kind, "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z"});
    let conditions: Value =
        ["Ready", "Initialized", "ContainersReady", "PodScheduled"].into_iter().map(condition).collect();
    next.set(&["status"], value::value!({"phase": "Running", "podIP": "10.0.0.1", "hostIP": "10.0.0.2"}));
    next.set(&["status", "conditions"], conditions);
    time("compare nothing but compare", rounds, || merge::managed::compare(&schema, &pod, &next));
    time("track a first status", rounds, || track_update(&versions, &pod, &next, &list, &Value::Null, &status));
    let both = track_update(&versions, &pod, &next, &list, &Value::Null, &status).expect("a list");
    let mut later = next.clone();
    later.set(&["status", "podIP"], "10.0.0.3");
    time("track a later status", rounds, || track_update(&versions, &next, &later, &both, &Value::Null, &status));
}
