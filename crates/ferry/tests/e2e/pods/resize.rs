//! Resizing in place: what is asked for arrives in the cgroups of what runs, and the status says it when it is so.

use crate::scenes::{Scene, condition, container, ready, scenarios, sh, with};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

scenarios! {
    "[sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem on c1, c2, decrease cpu & mem on c3 - net increase [MinimumKubeletVersion:1.34] [Conformance]"
        => increase,
    "[sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase cpu & mem on c1, decrease cpu & mem on c2, c3 - net decrease [MinimumKubeletVersion:1.34] [Conformance]"
        => decrease,
    "[sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - increase: CPU (c1,c3), memory (c2, c3) ; decrease: CPU (c2) [MinimumKubeletVersion:1.34] [Conformance]"
        => mixed,
    "[sig-node] Pod InPlace Resize Container burstable pods - extended 6 containers - various operations performed (including adding limits and requests) [MinimumKubeletVersion:1.34] [Conformance]"
        => extended,
    "[sig-node] Pod InPlace Resize Container burstable pods - extended resize with equivalents [MinimumKubeletVersion:1.34] [Conformance]"
        => equivalents,
    "[sig-node] Pod InPlace Resize Container resize pod via the replace endpoint [MinimumKubeletVersion:1.34] [Conformance]"
        => replaced,
    "a container whose policy asks for it is restarted by a resize" => restarted,
    "a resize that never fits the node says so and changes nothing" => infeasible,
}

/// CPU request and limit, memory request and limit; empty where there is none.
type Size = [&'static str; 4];

fn resources(size: &Size) -> Value {
    let mut out = json!({});
    for (list, name, amount) in [
        ("requests", "cpu", size[0]),
        ("limits", "cpu", size[1]),
        ("requests", "memory", size[2]),
        ("limits", "memory", size[3]),
    ] {
        if !amount.is_empty() {
            out[list][name] = amount.into();
        }
    }
    out
}

fn containers(sizes: &[Size]) -> Value {
    let one = |(i, size): (usize, &Size)| {
        with(sh("sleep 10000"), json!({"name": format!("c{}", i + 1), "resources": resources(size)}))
    };
    sizes.iter().enumerate().map(one).collect()
}

async fn made(scene: &Scene, sizes: &[Size]) {
    scene.ready("p", json!({"containers": containers(sizes)})).await;
    check(scene, sizes).await;
}

/// Asks for other sizes and waits until nothing is under way.
async fn resize(scene: &Scene, sizes: &[Size]) -> Value {
    let one = |(i, size): (usize, &Size)| json!({"name": format!("c{}", i + 1), "resources": resources(size)});
    let list: Vec<Value> = sizes.iter().enumerate().map(one).collect();
    let patch = json!({"spec": {"containers": list}});
    let patched =
        scene.api::<Pod>().patch_subresource("resize", "p", &PatchParams::default(), &Patch::Strategic(&patch)).await;
    let patched = patched.unwrap_or_else(|e| panic!("{patch}: {e}"));
    settled(scene, patched.metadata.generation.expect("a generation")).await
}

async fn settled(scene: &Scene, generation: i64) -> Value {
    scene
        .until("p", "the end of its resize", |pod| {
            let seen = pod["status"]["observedGeneration"].as_i64() >= Some(generation);
            let quiet = condition(pod, "PodResizePending").is_null() && condition(pod, "PodResizeInProgress").is_null();
            (seen && quiet && ready(pod)).then(|| pod.clone())
        })
        .await
}

/// Status and cgroups of all containers, as upstream's `ExpectPodResized` looks at them.
async fn check(scene: &Scene, sizes: &[Size]) {
    let pod = scene.get("p").await;
    for (i, size) in sizes.iter().enumerate() {
        let name = format!("c{}", i + 1);
        let (status, want) = (container(&pod, &name), resources(size));
        assert_eq!(status["resources"], want, "{name}: {status}");
        assert_eq!(status.get("allocatedResources"), want.get("requests"), "{name}: {status}");
        assert_eq!(status["restartCount"], 0, "{name}: {status}");
        let read = async |file: &str| scene.exec("p", &name, &format!("head -n 1 /sys/fs/cgroup/{file}")).await.out;
        let milli = |text: &str| text.trim_end_matches('m').parse::<i64>().expect("thousandths");
        let request = if size[0].is_empty() { size[1] } else { size[0] };
        let shares = if request.is_empty() { 2 } else { (milli(request) * 1024 / 1000).max(2) };
        assert_eq!(read("cpu/cpu.shares").await.trim(), shares.to_string(), "{name}");
        let quota = if size[1].is_empty() { -1 } else { (milli(size[1]) * 100).max(1000) };
        assert_eq!(read("cpu/cpu.cfs_quota_us").await.trim(), quota.to_string(), "{name}");
        if let Some(memory) = size[3].strip_suffix("Mi") {
            let bytes = memory.parse::<u64>().expect("MiB") << 20;
            assert_eq!(read("memory/memory.limit_in_bytes").await.trim(), bytes.to_string(), "{name}");
        }
    }
}

/// There and back again.
async fn round(scene: &Scene, before: &[Size], after: &[Size]) {
    made(scene, before).await;
    resize(scene, after).await;
    check(scene, after).await;
    resize(scene, before).await;
    check(scene, before).await;
}

fn guaranteed(cpu: &'static str, memory: &'static str) -> Size {
    [cpu, cpu, memory, memory]
}

fn three() -> [Size; 3] {
    [guaranteed("20m", "35Mi"), guaranteed("22m", "37Mi"), guaranteed("24m", "39Mi")]
}

async fn increase(scene: Scene) {
    let after = [guaranteed("25m", "40Mi"), guaranteed("27m", "42Mi"), guaranteed("19m", "34Mi")];
    round(&scene, &three(), &after).await;
}

async fn decrease(scene: Scene) {
    let after = [guaranteed("25m", "40Mi"), guaranteed("17m", "32Mi"), guaranteed("19m", "34Mi")];
    round(&scene, &three(), &after).await;
}

async fn mixed(scene: Scene) {
    let after = [guaranteed("25m", "35Mi"), guaranteed("17m", "42Mi"), guaranteed("29m", "44Mi")];
    round(&scene, &three(), &after).await;
}

async fn extended(scene: Scene) {
    let before =
        [["20m", "", "", ""], ["", "", "35Mi", ""], ["20m", "", "35Mi", ""], ["20m", "", "", ""], ["", "", "35Mi", ""]];
    let after = [
        ["25m", "35m", "", ""],
        ["", "", "30Mi", "50Mi"],
        ["20m", "", "30Mi", ""],
        ["15m", "", "35Mi", ""],
        ["20m", "", "40Mi", ""],
    ];
    made(&scene, &before).await;
    resize(&scene, &after).await;
    check(&scene, &after).await;
}

async fn equivalents(scene: Scene) {
    round(&scene, &[["2m", "10m", "", ""]], &[["1m", "5m", "", ""]]).await;
}

async fn replaced(scene: Scene) {
    let (before, after) = ([["20m", "", "35Mi", ""]], [["25m", "", "40Mi", ""]]);
    made(&scene, &before).await;
    let mut pod = scene.api::<Pod>().get("p").await.expect("the pod");
    let spec = pod.spec.as_mut().expect("a spec");
    spec.containers[0].resources = Some(serde_json::from_value(resources(&after[0])).expect("resources"));
    let done: Pod = scene.api().replace_subresource("resize", "p", &PostParams::default(), &pod).await.expect("a pod");
    settled(&scene, done.metadata.generation.expect("a generation")).await;
    check(&scene, &after).await;
}

async fn restarted(scene: Scene) {
    let policy = json!({"resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]});
    let one = with(sh("sleep 10000"), json!({"name": "c1", "resources": resources(&["20m", "", "35Mi", "45Mi"])}));
    scene.ready("p", json!({"containers": [with(one, policy)]})).await;
    let pod = resize(&scene, &[["25m", "", "35Mi", "45Mi"]]).await;
    assert_eq!(container(&pod, "c1")["restartCount"], 0, "of the CPU nothing is said");
    let pod = resize(&scene, &[["25m", "", "40Mi", "50Mi"]]).await;
    let status = container(&pod, "c1");
    assert_eq!(status["restartCount"], 1, "{status}");
    assert_eq!(status["resources"], resources(&["25m", "", "40Mi", "50Mi"]), "{status}");
    let limit = scene.exec("p", "c1", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes").await.out;
    assert_eq!(limit.trim(), (50u64 << 20).to_string());
}

async fn infeasible(scene: Scene) {
    let before = [["20m", "", "35Mi", ""]];
    made(&scene, &before).await;
    let patch = json!({"spec": {"containers": [{"name": "c1", "resources": {"requests": {"cpu": "1000"}}}]}});
    let patched =
        scene.api::<Pod>().patch_subresource("resize", "p", &PatchParams::default(), &Patch::Strategic(&patch)).await;
    let Err(kube::Error::Api(refused)) = patched else { panic!("a wish beyond the node is taken: {patched:?}") };
    let text = "pods \"p\" is forbidden: node didn't have enough allocatable resources: cpu, requested: 1000000, allocatable: ";
    assert!(refused.code == 403 && refused.message.starts_with(text), "{refused:?}");
    check(&scene, &before).await;
}
